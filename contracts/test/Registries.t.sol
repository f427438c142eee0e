// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CreditToken} from "../src/CreditToken.sol";
import {ModelRegistry} from "../src/ModelRegistry.sol";
import {IModelRegistry} from "../src/interfaces/IModelRegistry.sol";
import {NetworkRegistry} from "../src/NetworkRegistry.sol";
import {INetworkRegistry} from "../src/interfaces/INetworkRegistry.sol";
import {ReceiptVerifier} from "../src/ReceiptVerifier.sol";
import {FeeToken} from "./support/Tokens.sol";
import {Checks, vm} from "./support/Vm.sol";

/// @notice The registry of nodes and hubs: keys, entries and bonds.
contract NetworkRegistryTest is Checks {
    bytes32 private constant NETWORK = bytes32(uint256(7));
    uint64 private constant DELAY = 7 days;
    uint256 private constant KEY = 0xBEEF;
    address private operator = address(0x09E4);
    address private slasher = address(0x51A5);
    address private victim = address(0x71C7);
    CreditToken private token;
    NetworkRegistry private registry;

    function setUp() external {
        vm.warp(1_800_000_000);
        token = new CreditToken(address(this));
        registry = new NetworkRegistry(address(token), NETWORK, DELAY, slasher);
        token.mint(operator, 1000);
        vm.prank(operator);
        token.approve(address(registry), type(uint256).max);
    }

    function test_a_key_is_listed_with_its_own_consent() external {
        list();
        INetworkRegistry.Entry memory entry = registry.entryOf(vm.addr(KEY));
        yes(entry.operator == operator && entry.key == vm.addr(KEY) && !entry.retired, "listed");
        yes(keccak256(bytes(entry.endpoint)) == keccak256("hub.example:7717"), "endpoint");
        bytes memory signature = consent(operator, KEY);
        vm.prank(operator);
        vm.expectRevert(abi.encodeWithSelector(INetworkRegistry.KeyTaken.selector, vm.addr(KEY)));
        registry.register(INetworkRegistry.Kind.Node, vm.addr(KEY), 0, 0, "", signature);
    }

    function test_nobody_lists_the_key_of_another() external {
        bytes memory signature = consent(operator, KEY);
        vm.prank(victim); // the consent names the operator
        vm.expectRevert(INetworkRegistry.InvalidSignature.selector);
        registry.register(INetworkRegistry.Kind.Hub, vm.addr(KEY), 0, 0, "", signature);
        signature = consent(operator, 0xBAD);
        vm.prank(operator);
        vm.expectRevert(INetworkRegistry.InvalidSignature.selector);
        registry.register(INetworkRegistry.Kind.Hub, vm.addr(KEY), 0, 0, "", signature);
        vm.prank(operator);
        vm.expectRevert(INetworkRegistry.ZeroAddress.selector);
        registry.register(INetworkRegistry.Kind.Hub, address(0), 0, 0, "", "");
        vm.prank(operator); // one's own key needs no signature
        registry.register(INetworkRegistry.Kind.Node, operator, 0, 0, "", "");
    }

    function test_only_the_operator_changes_an_entry() external {
        list();
        address key = vm.addr(KEY);
        vm.expectRevert(abi.encodeWithSelector(INetworkRegistry.NotOperator.selector, address(this)));
        registry.update(key, 0, 0, "");
        vm.expectRevert(abi.encodeWithSelector(INetworkRegistry.NotOperator.selector, address(this)));
        registry.retire(key);
        vm.prank(operator);
        registry.update(key, bytes32(uint256(1)), bytes32(uint256(2)), "other:1");
        yes(registry.entryOf(key).descriptor == bytes32(uint256(2)), "updated");
        vm.prank(operator);
        registry.retire(key);
        vm.prank(operator);
        vm.expectRevert(abi.encodeWithSelector(INetworkRegistry.Retired.selector, key));
        registry.update(key, 0, 0, "");
        vm.prank(operator);
        vm.expectRevert(abi.encodeWithSelector(INetworkRegistry.Retired.selector, key));
        registry.retire(key);
        vm.expectRevert(abi.encodeWithSelector(INetworkRegistry.UnknownKey.selector, victim));
        registry.entryOf(victim);
    }

    function test_endpoints_are_short_and_pages_bounded() external {
        list();
        vm.prank(operator);
        vm.expectRevert(abi.encodeWithSelector(INetworkRegistry.EndpointTooLong.selector, 257));
        registry.update(vm.addr(KEY), 0, 0, string(new bytes(257)));
        same(registry.page(0, 10).length, 1, "all there are");
        same(registry.page(1, 10).length, 0, "none after");
        same(registry.page(5, type(uint256).max).length, 0, "none far after");
        same(registry.count(), 1, "count");
    }

    function test_bonds_leave_slowly() external {
        bond(500);
        vm.prank(operator);
        vm.expectRevert(abi.encodeWithSelector(INetworkRegistry.InsufficientBond.selector, 500, 501));
        registry.requestUnbond(501);
        vm.prank(operator);
        registry.requestUnbond(200);
        uint64 leavesAt = uint64(block.timestamp) + DELAY;
        vm.warp(leavesAt - 1);
        vm.prank(operator);
        vm.expectRevert(abi.encodeWithSelector(INetworkRegistry.UnbondingUntil.selector, leavesAt));
        registry.withdrawBond(operator);
        vm.warp(leavesAt);
        vm.prank(operator);
        registry.withdrawBond(operator);
        same(token.balanceOf(operator), 700, "came back");
        same(token.balanceOf(address(registry)), 300, "stands");
        vm.prank(operator);
        vm.expectRevert(INetworkRegistry.ZeroAmount.selector);
        registry.withdrawBond(operator);
    }

    function test_what_is_leaving_can_still_be_slashed() external {
        bond(500);
        vm.prank(operator);
        registry.requestUnbond(400);
        vm.prank(slasher);
        registry.slash(operator, victim, 450, "evidence");
        same(token.balanceOf(victim), 450, "to the victim");
        (uint96 standing, uint96 leaving,) = registry.bonds(operator);
        same(standing, 50, "what is leaving goes first");
        same(leaving, 0, "none is leaving");
        vm.prank(slasher);
        vm.expectRevert(abi.encodeWithSelector(INetworkRegistry.InsufficientBond.selector, 50, 51));
        registry.slash(operator, victim, 51, "");
    }

    function test_slashing_never_pays_the_slasher() external {
        bond(500);
        vm.expectRevert(abi.encodeWithSelector(INetworkRegistry.NotSlasher.selector, address(this)));
        registry.slash(operator, victim, 1, "");
        address[4] memory wrong = [slasher, operator, address(registry), address(0)];
        for (uint256 i; i < wrong.length; ++i) {
            vm.prank(slasher);
            vm.expectRevert(abi.encodeWithSelector(INetworkRegistry.WrongVictim.selector, wrong[i]));
            registry.slash(operator, wrong[i], 1, "");
        }
    }

    function test_tokens_that_keep_a_fee_are_refused() external {
        FeeToken fee = new FeeToken();
        NetworkRegistry other = new NetworkRegistry(address(fee), NETWORK, DELAY, slasher);
        fee.approve(address(other), 1000);
        vm.expectRevert(abi.encodeWithSelector(INetworkRegistry.FeeOnTransfer.selector, 1000, 999));
        other.bond(operator, 1000);
    }

    function testFuzz_bonds_add_up(uint96[8] calldata amounts, uint8[8] calldata steps) external {
        bond(100);
        for (uint256 i; i < steps.length; ++i) {
            (uint96 standing, uint96 leaving,) = registry.bonds(operator);
            if (steps[i] % 4 == 0 && token.balanceOf(operator) > 0) {
                bond(uint96(bound(amounts[i], 1, token.balanceOf(operator))));
            } else if (steps[i] % 4 == 1 && standing > 0) {
                vm.prank(operator);
                registry.requestUnbond(uint96(bound(amounts[i], 1, standing)));
            } else if (steps[i] % 4 == 2 && leaving > 0) {
                vm.warp(block.timestamp + DELAY);
                vm.prank(operator);
                registry.withdrawBond(operator);
            } else if (standing + leaving > 0) {
                vm.prank(slasher);
                registry.slash(operator, victim, uint96(bound(amounts[i], 1, standing + leaving)), "");
            }
            (standing, leaving,) = registry.bonds(operator);
            same(token.balanceOf(address(registry)), uint256(standing) + leaving, "tokens = bonds");
            same(token.balanceOf(slasher), 0, "nothing for the slasher");
        }
    }

    function list() private {
        bytes memory signature = consent(operator, KEY);
        vm.prank(operator);
        registry.register(INetworkRegistry.Kind.Hub, vm.addr(KEY), "tls", "cid", "hub.example:7717", signature);
    }

    function bond(uint96 amount) private {
        vm.prank(operator);
        registry.bond(operator, amount);
    }

    function consent(address who, uint256 key) private view returns (bytes memory) {
        bytes32 kind = keccak256(
            "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)"
        );
        bytes32 domain = keccak256(
            abi.encode(kind, keccak256("farlane"), keccak256("1"), block.chainid, address(registry), NETWORK)
        );
        bytes32 body = keccak256(abi.encode(registry.KEY_TYPE(), who, vm.addr(key)));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, keccak256(abi.encodePacked(hex"1901", domain, body)));
        return abi.encodePacked(r, s, v);
    }
}

/// @notice The registry of models: names, versions, hand-over and royalties.
contract ModelRegistryTest is Checks {
    address private owner = address(0x0113);
    address private heir = address(0x4E14);
    ModelRegistry private registry;
    bytes32 private id;

    function setUp() external {
        registry = new ModelRegistry(address(1));
        vm.prank(owner);
        id = registry.claim("acme/minilm-l6");
    }

    function test_a_name_is_claimed_once() external {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.NameTaken.selector, id));
        registry.claim("acme/minilm-l6");
        same(registry.count(), 1, "count");
        yes(keccak256(bytes(registry.page(0, 9)[0])) == keccak256("acme/minilm-l6"), "page");
        same(registry.page(1, type(uint256).max).length, 0, "no more");
    }

    function test_names_that_cannot_be() external {
        string[7] memory wrong = ["", "Acme", "-a", "a b", unicode"ä", "/a", string(new bytes(65))];
        for (uint256 i; i < wrong.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IModelRegistry.InvalidName.selector, wrong[i]));
            registry.claim(wrong[i]);
        }
        registry.claim("0-a_b.c/d");
    }

    function test_versions_are_published_in_order_and_never_change() external {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.NotOwner.selector, address(this)));
        registry.publish(id, 1, "cid");
        publish(1, "one");
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.WrongVersion.selector, 2));
        registry.publish(id, 1, "other");
        vm.prank(owner);
        vm.expectRevert(IModelRegistry.EmptyManifest.selector);
        registry.publish(id, 2, 0);
        publish(2, "two");
        (bytes32 manifest,, bool yanked) = registry.versionOf(id, 1);
        yes(manifest == "one" && !yanked, "the first stays");
    }

    function test_yanking_warns_and_does_not_erase() external {
        publish(1, "one");
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.NotOwner.selector, address(this)));
        registry.yank(id, 1, "");
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.UnknownVersion.selector, 2));
        registry.yank(id, 2, "");
        vm.prank(owner);
        registry.yank(id, 1, "wrong weights");
        (bytes32 manifest,, bool yanked) = registry.versionOf(id, 1);
        yes(manifest == "one" && yanked, "still there");
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.AlreadyYanked.selector, 1));
        registry.yank(id, 1, "");
    }

    function test_a_hand_over_takes_two() external {
        vm.prank(owner);
        registry.offerTransfer(id, heir);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.NotSuccessor.selector, address(this)));
        registry.acceptTransfer(id);
        vm.prank(heir);
        registry.acceptTransfer(id);
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.NotOwner.selector, owner));
        registry.publish(id, 1, "one");
        vm.prank(heir);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.NotSuccessor.selector, heir));
        registry.acceptTransfer(id);
    }

    function test_royalties_are_capped_and_rounded_down() external {
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.RoyaltyTooHigh.selector, 2001));
        registry.setRoyalty(id, 2001, owner);
        vm.prank(owner);
        vm.expectRevert(IModelRegistry.ZeroAddress.selector);
        registry.setRoyalty(id, 1, address(0));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.NotOwner.selector, address(this)));
        registry.setRoyalty(id, 1, owner);
        vm.prank(owner);
        registry.setRoyalty(id, 250, heir);
        (address to, uint256 royalty) = registry.royaltyInfo(id, 1039);
        yes(to == heir, "receiver");
        same(royalty, 25, "2.5 % of 1039, rounded down");
    }

    function publish(uint32 version, bytes32 manifest) private {
        vm.prank(owner);
        registry.publish(id, version, manifest);
    }
}

/// @notice Credits and receipts: what the ledger's own tests do not reach.
contract CreditsAndReceiptsTest is Checks {
    bytes32 private constant TRANSFER_TYPE = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant CANCEL_TYPE = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
    CreditToken private token = new CreditToken(address(this));

    function test_only_the_minter_mints() external {
        token.mint(address(1), 5);
        same(token.totalSupply(), 5, "supply");
        same(token.decimals(), 9, "one unit is one nano-credit");
        vm.prank(address(1));
        vm.expectRevert(abi.encodeWithSelector(CreditToken.NotMinter.selector, address(1)));
        token.mint(address(1), 5);
    }

    function test_authorizations_have_their_time_and_one_use() external {
        vm.warp(1000);
        address from = vm.addr(5);
        token.mint(from, 100);
        bytes4 early = CreditToken.AuthorizationNotYetValid.selector;
        bytes4 late = CreditToken.AuthorizationExpired.selector;
        transferAs(5, 1000, 2000, abi.encodeWithSelector(early, 1000));
        transferAs(5, 0, 1000, abi.encodeWithSelector(late, 1000));
        transferAs(6, 0, 2000, abi.encodeWithSelector(CreditToken.WrongSigner.selector, vm.addr(6)));
        transferAs(5, 0, 2000, "");
        same(token.balanceOf(address(9)), 40, "moved");
        transferAs(5, 0, 2000, abi.encodeWithSelector(CreditToken.AuthorizationUsed.selector, bytes32("nonce")));
    }

    function test_authorizations_can_be_cancelled() external {
        vm.warp(1000);
        token.mint(vm.addr(5), 100);
        bytes32 body = keccak256(abi.encode(CANCEL_TYPE, vm.addr(5), bytes32("nonce")));
        (uint8 v, bytes32 r, bytes32 s) = sign(5, body);
        token.cancelAuthorization(vm.addr(5), "nonce", v, r, s);
        transferAs(5, 0, 2000, abi.encodeWithSelector(CreditToken.AuthorizationUsed.selector, bytes32("nonce")));
        vm.expectRevert(abi.encodeWithSelector(CreditToken.AuthorizationUsed.selector, bytes32("nonce")));
        token.cancelAuthorization(vm.addr(5), "nonce", v, r, s);
    }

    function test_leaves_have_one_length() external {
        ReceiptVerifier verifier = new ReceiptVerifier();
        bytes memory leaf = new bytes(236);
        yes(verifier.leafHash(leaf) == sha256(abi.encodePacked(bytes1(0), leaf)), "hash");
        vm.expectRevert(abi.encodeWithSelector(ReceiptVerifier.WrongLength.selector, 236, 235));
        verifier.leafHash(new bytes(235));
    }

    function testFuzz_two_leaves_prove_each_other(bytes32 left, bytes32 right, bytes32 other) external {
        vm.assume(other != left && other != right && left != right);
        ReceiptVerifier verifier = new ReceiptVerifier();
        bytes32 root = sha256(abi.encodePacked(bytes1(0x01), left, right));
        bytes32[] memory proof = new bytes32[](1);
        proof[0] = right;
        yes(verifier.verifyInclusion(left, 0, 2, proof, root), "left");
        yes(!verifier.verifyInclusion(left, 1, 2, proof, root), "another place");
        yes(!verifier.verifyInclusion(other, 0, 2, proof, root), "another leaf");
        yes(!verifier.verifyInclusion(left, 2, 2, proof, root), "no place at all");
        yes(verifier.verifyConsistency(1, 2, left, root, proof), "grew");
        yes(!verifier.verifyConsistency(1, 2, other, root, proof), "forked");
        yes(!verifier.verifyConsistency(2, 1, root, left, proof), "shrank");
    }

    function transferAs(uint256 key, uint256 from, uint256 until, bytes memory refusal) private {
        bytes32 body = keccak256(
            abi.encode(TRANSFER_TYPE, vm.addr(5), address(9), 40, from, until, bytes32("nonce"))
        );
        (uint8 v, bytes32 r, bytes32 s) = sign(key, body);
        if (refusal.length != 0) vm.expectRevert(refusal);
        token.transferWithAuthorization(vm.addr(5), address(9), 40, from, until, "nonce", v, r, s);
    }

    function sign(uint256 key, bytes32 body) private view returns (uint8, bytes32, bytes32) {
        return vm.sign(key, keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), body)));
    }
}
