// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IComputeLedger} from "../src/interfaces/IComputeLedger.sol";
import {ModelRegistry} from "../src/ModelRegistry.sol";
import {NetworkRegistry} from "../src/NetworkRegistry.sol";
import {INetworkRegistry} from "../src/interfaces/INetworkRegistry.sol";
import {TypedData} from "../src/libraries/TypedData.sol";
import {vm} from "./support/Vm.sol";
import {World} from "./support/World.sol";

/// @notice Gas of whole transactions, as their receipts would say: 21,000, calldata and execution, each from cold slots.
/// @dev forge runs every outermost call of this profile as a transaction of its own (isolation); `snapshots/gas.json`
/// keeps the figures, a test compares them to the unit. Slots of accounts are in use, as they are in the long run.
contract GasTest is World {
    string private constant GROUP = "gas";

    function setUp() public override {
        super.setUp();
        openAt(0); // so that the count of trades is no new slot
    }

    function test_gas_of_money() external {
        token.mint(address(this), 100);
        token.approve(address(ledger), 100);
        ledger.deposit(payer, 50);
        measured("deposit");
        vm.prank(payer);
        ledger.withdraw(payer, 10);
        measured("withdraw, to a new holder");
    }

    function test_gas_of_channels() external {
        openChannel(1e6 / 2);
        measured("open");
        vm.prank(payer);
        ledger.topUp(provider, signer, SALT, 1000);
        measured("topUp");
        ledger.settle(claimOf(1000));
        measured("settle, a channel's first");
        ledger.settle(claimOf(2000));
        uint256 alone = measured("settle");
        yes(alone <= 46_000, "alone at most 46,000");
        vm.prank(payer);
        ledger.startClose(provider, signer, SALT);
        measured("startClose");
        vm.warp(block.timestamp + WINDOW);
        ledger.finishClose(payer, provider, signer, SALT);
        measured("finishClose");
        openAt(2);
        vm.prank(provider);
        ledger.closeByProvider(payer, signer, bytes32(uint256(2)));
        measured("closeByProvider");
    }

    function test_gas_of_batches() external {
        for (uint256 i; i < 100; ++i) {
            openAt(i + 10);
        }
        ledger.settleMany(batch(1));
        ledger.settleMany(batch(2));
        uint256 each = measured("settleMany of 100") / 100;
        yes(each <= 19_000, "at most 19,000 a voucher");
    }

    function test_gas_of_accepted_jobs() external {
        IComputeLedger.Terms memory t = openJob();
        uint256 whole = measured("openJob");
        bytes32 body = TypedData.hashAcceptance(ledger.jobId(t), ROOT);
        bytes memory signature = signDigest(PAYER_KEY, TypedData.digest(ledger.domainSeparator(), body));
        vm.prank(provider);
        ledger.acceptResult(t, ROOT, signature);
        whole += measured("acceptResult, by the payer's signature");
        yes(whole <= 132_000, "an accepted job at most 132,000");
    }

    function test_gas_of_disputed_jobs() external {
        IComputeLedger.Terms memory t = openJob();
        uint256 whole = vm.lastCallGas().gasTotalUsed;
        vm.prank(provider);
        ledger.submitResult(t, ROOT);
        whole += measured("submitResult");
        vm.prank(payer);
        ledger.dispute(t);
        whole += measured("dispute");
        vm.prank(arbiter);
        ledger.resolve(t, 400);
        whole += measured("resolve");
        yes(whole <= 205_000, "a disputed job at most 205,000");
    }

    function test_gas_of_silent_ends() external {
        IComputeLedger.Terms memory t = submitted();
        vm.warp(block.timestamp + t.window + 1);
        ledger.finalize(t);
        measured("finalize");
        t = openJob();
        vm.warp(t.deadline + 1);
        ledger.reclaim(t);
        measured("reclaim");
        t = disputed();
        vm.warp(block.timestamp + t.arbiterWindow + 1);
        ledger.arbiterSilent(t);
        measured("arbiterSilent");
    }

    function test_gas_of_registries() external {
        NetworkRegistry nodes = new NetworkRegistry(address(token), NETWORK, 1 days, arbiter);
        nodes.register(INetworkRegistry.Kind.Node, address(this), ROOT, ROOT, "node.example:7717", "");
        measured("register a node");
        nodes.update(address(this), SALT, SALT, "node.example:7718");
        measured("update a node");
        token.mint(address(this), 100);
        token.approve(address(nodes), 100);
        nodes.bond(address(this), 100);
        measured("bond");
        nodes.requestUnbond(50);
        measured("requestUnbond");
        ModelRegistry models = new ModelRegistry(address(ledger));
        bytes32 id = models.claim("acme/minilm-l6");
        measured("claim a model's name");
        models.publish(id, 1, ROOT);
        measured("publish a version");
    }

    function measured(string memory name) private returns (uint256 gas) {
        gas = vm.lastCallGas().gasTotalUsed;
        vm.snapshotValue(GROUP, name, gas);
    }

    function openAt(uint256 salt) private {
        vm.prank(payer);
        ledger.open(provider, signer, bytes32(salt), 4000);
    }

    function batch(uint96 round) private view returns (IComputeLedger.Claim[] memory claims) {
        claims = new IComputeLedger.Claim[](100);
        for (uint256 i; i < 100; ++i) {
            claims[i] = IComputeLedger.Claim(payer, provider, signer, bytes32(i + 10), 1000 * round, 1000, ROOT, "");
            claims[i].signature = signClaim(claims[i], SIGNER_KEY, ledger.domainSeparator());
        }
    }
}
