// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ComputeLedger} from "../src/ComputeLedger.sol";
import {CreditToken} from "../src/CreditToken.sol";
import {IComputeLedger} from "../src/interfaces/IComputeLedger.sol";
import {FeeToken} from "./support/Tokens.sol";
import {vm} from "./support/Vm.sol";
import {World} from "./support/World.sol";

/// @notice Money in and out, the pause, the domain, and tokens that misbehave.
contract MoneyTest is World {
    bytes32 private constant PERMIT_TYPE =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    bytes32 private constant RECEIVE_TYPE = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );

    function test_money_comes_in_and_goes_out() external {
        vm.prank(payer);
        ledger.withdraw(arbiter, 400);
        same(token.balanceOf(arbiter), 400, "paid out");
        same(ledger.balanceOf(payer), 999_600, "debited");
        vm.prank(payer);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.InsufficientBalance.selector, 999_600, 999_601));
        ledger.withdraw(payer, 999_601);
        vm.prank(payer);
        vm.expectRevert(IComputeLedger.ZeroAmount.selector);
        ledger.withdraw(payer, 0);
        vm.prank(payer);
        vm.expectRevert(IComputeLedger.ZeroAddress.selector);
        ledger.withdraw(address(0), 1);
    }

    function test_a_deposit_for_somebody_else_is_theirs() external {
        token.mint(address(this), 50);
        token.approve(address(ledger), 50);
        ledger.deposit(arbiter, 50);
        same(ledger.balanceOf(arbiter), 50, "theirs");
        vm.expectRevert(IComputeLedger.ZeroAmount.selector);
        ledger.deposit(arbiter, 0);
        vm.expectRevert(IComputeLedger.ZeroAddress.selector);
        ledger.deposit(address(0), 1);
    }

    function test_permits_deposit_also_when_somebody_spent_them_first() external {
        address owner = vm.addr(77);
        token.mint(owner, 100);
        bytes32 body = keccak256(abi.encode(PERMIT_TYPE, owner, address(ledger), 60, 0, block.timestamp));
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(77, keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), body)));
        token.permit(owner, address(ledger), 60, block.timestamp, v, r, s); // a front-runner
        vm.prank(owner);
        ledger.depositWithPermit(owner, 60, block.timestamp, v, r, s);
        same(ledger.balanceOf(owner), 60, "deposited");
    }

    function test_authorizations_deposit_for_their_signer_once() external {
        address owner = vm.addr(77);
        token.mint(owner, 100);
        uint256 until = block.timestamp + 1;
        bytes32 body = keccak256(abi.encode(RECEIVE_TYPE, owner, address(ledger), 60, 0, until, ROOT));
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(77, keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), body)));
        vm.expectRevert(abi.encodeWithSelector(CreditToken.NotRecipient.selector, address(this)));
        token.receiveWithAuthorization(owner, address(ledger), 60, 0, until, ROOT, v, r, s);
        vm.expectRevert();
        ledger.depositWithAuthorization(owner, 61, 0, until, ROOT, v, r, s);
        ledger.depositWithAuthorization(owner, 60, 0, until, ROOT, v, r, s);
        same(ledger.balanceOf(owner), 60, "deposited");
        vm.expectRevert(abi.encodeWithSelector(CreditToken.AuthorizationUsed.selector, ROOT));
        ledger.depositWithAuthorization(owner, 60, 0, until, ROOT, v, r, s);
        vm.expectRevert(IComputeLedger.ZeroAmount.selector);
        ledger.depositWithAuthorization(owner, 0, 0, until, ROOT, v, r, s);
    }

    function test_tokens_that_keep_a_fee_are_refused() external {
        FeeToken fee = new FeeToken();
        ComputeLedger other = new ComputeLedger(address(fee), NETWORK, guardian, WINDOW);
        fee.approve(address(other), 1000);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.FeeOnTransfer.selector, 1000, 999));
        other.deposit(address(this), 1000);
    }

    function test_amounts_beyond_ninety_six_bits_are_refused() external {
        token.mint(address(this), uint256(type(uint96).max) + 1);
        token.approve(address(ledger), type(uint256).max);
        vm.expectRevert(
            abi.encodeWithSelector(IComputeLedger.AmountTooLarge.selector, uint256(type(uint96).max) + 1)
        );
        ledger.deposit(address(this), uint256(type(uint96).max) + 1);
    }

    function test_the_pause_stops_what_comes_in_and_no_exit() external {
        openChannel(500);
        IComputeLedger.Terms memory t = disputed();
        IComputeLedger.Terms memory next = terms();
        next.salt = bytes32(uint256(5));
        bytes memory signature = signTerms(next);
        vm.expectRevert(IComputeLedger.NotGuardian.selector);
        ledger.pause();
        vm.prank(guardian);
        ledger.pause();
        bytes[6] memory closed = [
            abi.encodeCall(ledger.deposit, (payer, 1)),
            abi.encodeCall(ledger.depositWithPermit, (payer, 1, 0, 0, 0, 0)),
            abi.encodeCall(ledger.depositWithAuthorization, (payer, 1, 0, 0, 0, 0, 0, 0)),
            abi.encodeCall(ledger.open, (provider, signer, bytes32(uint256(3)), 1)),
            abi.encodeCall(ledger.topUp, (provider, signer, SALT, 1)),
            abi.encodeCall(ledger.openJob, (next, signature))
        ];
        for (uint256 i; i < closed.length; ++i) {
            vm.prank(payer);
            (bool done, bytes memory why) = address(ledger).call(closed[i]);
            yes(!done && bytes4(why) == IComputeLedger.Paused.selector, "paused");
        }
        ledger.settle(claimOf(100));
        vm.prank(payer);
        ledger.startClose(provider, signer, SALT);
        vm.warp(block.timestamp + WINDOW);
        ledger.finishClose(payer, provider, signer, SALT);
        vm.warp(block.timestamp + 3 hours);
        ledger.arbiterSilent(t);
        vm.prank(provider);
        ledger.withdraw(provider, 1);
        vm.expectRevert(IComputeLedger.NotGuardian.selector);
        ledger.unpause();
        vm.prank(guardian);
        ledger.unpause();
        openJob2(next, signature);
    }

    function test_the_domain_is_the_one_that_is_signed() external view {
        (bytes1 fields, string memory name, string memory version, uint256 chain, address place, bytes32 salt,) =
            ledger.eip712Domain();
        yes(fields == hex"1f", "all five");
        bytes32 kind = keccak256(
            "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)"
        );
        bytes32 expected = keccak256(abi.encode(kind, keccak256(bytes(name)), keccak256(bytes(version)), chain, place, salt));
        yes(ledger.domainSeparator() == expected && salt == NETWORK && place == address(ledger), "separator");
    }

    function test_a_ledger_needs_a_token() external {
        vm.expectRevert(IComputeLedger.ZeroAddress.selector);
        new ComputeLedger(address(0), NETWORK, guardian, WINDOW);
    }

    function openJob2(IComputeLedger.Terms memory t, bytes memory signature) private {
        t.deadline = uint64(block.timestamp) + 1;
        signature = signTerms(t);
        vm.prank(payer);
        ledger.openJob(t, signature);
    }
}
