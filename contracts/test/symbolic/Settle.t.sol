// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IComputeLedger} from "../../src/interfaces/IComputeLedger.sol";
import {TypedData} from "../../src/libraries/TypedData.sol";
import {vm} from "../support/Vm.sol";
import {AnyState} from "./AnyState.sol";

/// @notice For every voucher, signature, channel and caller: what settling pays, when it must not, and that it does
/// when it should.
contract SettleSymbolic is AnyState {
    struct Given {
        uint96 deposit;
        uint96 claimed;
        uint64 closeAt;
        uint128 ofPayer;
        uint128 ofProvider;
        uint128 settlements;
    }

    struct Signature {
        bytes32 r;
        bytes32 s;
        uint8 v;
    }

    address private constant PAYER = address(0xA11CE);
    address private constant PROVIDER = address(0xB0B);
    address private constant STRANGER = address(0xCA11);

    /// @notice Settled or refused, money is conserved: the provider gets what is new, up to the deposit, or nobody gets
    /// anything; only the signer's own signature over exactly these fields is settled.
    function check_settle_pays_exactly_what_is_new(
        Given calldata given,
        Signature calldata signature,
        address caller,
        address signer,
        uint96 cumulative,
        uint64 tasks,
        bytes32 root
    ) external {
        vm.assume(signer != address(0) && signer.code.length == 0);
        bytes32 channel = arrange(given, signer);
        Books memory before = books(PAYER, PROVIDER, STRANGER);
        vm.prank(caller);
        try ledger.settle(claimOf(signer, cumulative, tasks, root, signature)) {
            assert(cumulative > given.claimed && cumulative <= given.deposit && given.closeAt != CLOSED);
            assert(recovered(channel, cumulative, tasks, root, signature) == signer);
            moved(before, books(PAYER, PROVIDER, STRANGER), 0, cumulative - given.claimed, 1);
            stands(channel, given, cumulative);
        } catch {
            moved(before, books(PAYER, PROVIDER, STRANGER), 0, 0, 0);
            stands(channel, given, given.claimed);
        }
    }

    /// @notice A good voucher is never refused: whoever sends it, however full the channel, also while it is closing.
    function check_settle_takes_every_good_voucher(
        Given calldata given,
        Signature calldata signature,
        address caller,
        address signer,
        uint96 cumulative,
        uint64 tasks,
        bytes32 root
    ) external {
        vm.assume(signer != address(0) && signer.code.length == 0 && given.closeAt != CLOSED);
        vm.assume(cumulative > given.claimed && cumulative <= given.deposit);
        bytes32 channel = arrange(given, signer);
        vm.assume(uint256(signature.s) <= 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0);
        vm.assume(recovered(channel, cumulative, tasks, root, signature) == signer);
        vm.prank(caller);
        (bool done,) = address(ledger).call(
            abi.encodeCall(ledger.settle, (claimOf(signer, cumulative, tasks, root, signature)))
        );
        assert(done);
    }

    function arrange(Given calldata given, address signer) private returns (bytes32 channel) {
        vm.assume(given.claimed <= given.deposit);
        writeAccount(PAYER, given.ofPayer, 0);
        writeAccount(PROVIDER, given.ofProvider, given.settlements);
        channel = ledger.channelId(PAYER, PROVIDER, signer, bytes32(0));
        writeChannel(channel, given.deposit, given.claimed, given.closeAt);
    }

    function claimOf(address signer, uint96 cumulative, uint64 tasks, bytes32 root, Signature calldata signature)
        private
        pure
        returns (IComputeLedger.Claim memory)
    {
        bytes memory raw = abi.encodePacked(signature.r, signature.s, signature.v);
        return IComputeLedger.Claim(PAYER, PROVIDER, signer, bytes32(0), cumulative, tasks, root, raw);
    }

    function recovered(bytes32 channel, uint96 cumulative, uint64 tasks, bytes32 root, Signature calldata signature)
        private
        view
        returns (address)
    {
        bytes32 body = TypedData.hashVoucher(channel, cumulative, tasks, root);
        bytes32 digest = TypedData.digest(ledger.domainSeparator(), body);
        return ecrecover(digest, signature.v, signature.r, signature.s);
    }

    function stands(bytes32 channel, Given calldata given, uint96 claimed) private view {
        (uint96 deposit, uint96 found, uint64 closeAt) = ledger.channels(channel);
        assert(deposit == given.deposit && found == claimed && closeAt == given.closeAt);
    }
}
