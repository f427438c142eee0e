// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IComputeLedger} from "../../src/interfaces/IComputeLedger.sol";
import {TypedData} from "../../src/libraries/TypedData.sol";
import {HandlerBooks} from "./HandlerBooks.sol";
import {vm} from "./Vm.sol";

/// @notice Calls that must never succeed, whatever state everything is in; each kind is counted by its name.
abstract contract Forbidden is HandlerBooks {
    IComputeLedger.JobState private constant ENDED = IComputeLedger.JobState.Accepted; // and all after it

    string[20] internal kinds = [
        "overClaim", "replay", "wrongKey", "closedSettle", "changedTasks", "changedRoot", "changedAmount",
        "otherNetwork", "earlyClose", "strangerCloses", "reopen", "topUpClosing", "overdraw", "endedJob",
        "lateDispute", "strangerResolves", "earlyFinalize", "earlyReclaim", "strangerPauses", "changedTerms"
    ];

    function forbiddenVoucher(uint256 which, uint256 kind, uint96 amount) external {
        _tryFrom(0, 8, which, kind, amount);
    }

    function forbiddenChannelCall(uint256 which, uint256 kind) external {
        _tryFrom(8, 5, which, kind, 0);
    }

    function forbiddenJobCall(uint256 which, uint256 kind, uint96 amount) external {
        // Disputes are rare: half of the time, try those kinds first.
        _tryFrom(13, 7, which, kind % 2 == 0 ? 1 : kind / 2, amount);
    }

    /// @dev Kinds that nothing is in a state for give way to the next.
    function _tryFrom(uint256 first, uint256 count, uint256 which, uint256 kind, uint96 amount) private {
        if (channels.length == 0) return;
        for (uint256 k; k < count; ++k) {
            uint256 tried = first + (kind % count + k) % count;
            (address caller, bytes memory call) = _callOf(tried, which, amount);
            if (call.length == 0) continue;
            vm.prank(caller);
            (bool done_,) = address(ledger).call(call);
            yes(!done_, kinds[tried]);
            done(string.concat("forbidden:", kinds[tried]));
            return;
        }
    }

    function _callOf(uint256 kind, uint256 which, uint96 amount) private returns (address, bytes memory) {
        if (kind >= 13) return _badJobCall(which, kind, amount);
        (bool open, uint256 i) = _pick(which, kind < 8 && kind > 1);
        Known storage c = channels[open && kind != 3 && kind < 9 ? i : which % channels.length];
        return kind < 8 ? _badVoucher(c, kind, amount) : _badChannelCall(c, kind);
    }

    function kindCount() external view returns (uint256) {
        return kinds.length;
    }

    function kindName(uint256 kind) external view returns (string memory) {
        return string.concat("forbidden:", kinds[kind]);
    }

    function _badVoucher(Known storage c, uint256 kind, uint96 amount) private view returns (address, bytes memory) {
        bool spent = c.closed || c.claimed == c.deposit;
        if (kind == 3 ? !c.closed : kind > 1 && spent) return (address(0), "");
        IComputeLedger.Claim memory claim = IComputeLedger.Claim(
            account(c.payer), account(c.provider), vm.addr(SIGNER_KEY), c.salt, 0, 1, bytes32(uint256(amount)), ""
        );
        // Good but for one thing: the amount is new and covered, unless that is what is wrong.
        claim.cumulative = c.claimed == c.deposit ? c.deposit : uint96(bound(amount, c.claimed + 1, c.deposit));
        if (kind == 0) claim.cumulative = uint96(bound(amount, uint256(c.deposit) + 1, type(uint96).max));
        if (kind == 1) claim.cumulative = uint96(bound(amount, 0, c.claimed));
        claim.signature = _signed(claim, kind == 2 ? 0xBAD : SIGNER_KEY);
        if (kind == 4) claim.tasks += 1;
        if (kind == 5) claim.root = keccak256(abi.encode(claim.root));
        if (kind == 6) claim.cumulative = claim.cumulative == c.claimed + 1 ? c.deposit + 1 : claim.cumulative - 1;
        if (kind == 7) {
            bytes32 id = ledger.channelId(claim.payer, claim.provider, claim.signer, claim.salt);
            bytes32 body = TypedData.hashVoucher(id, claim.cumulative, claim.tasks, claim.root);
            bytes32 elsewhere = keccak256(
                abi.encode(
                    TypedData.DOMAIN_TYPE, keccak256("farlane"), keccak256("1"), block.chainid, ledger, uint256(2)
                )
            );
            claim.signature = _sign(SIGNER_KEY, TypedData.digest(elsewhere, body));
        }
        return (account(c.provider), abi.encodeCall(ledger.settle, (claim)));
    }

    function _badChannelCall(Known storage c, uint256 kind) private view returns (address, bytes memory) {
        address signer = vm.addr(SIGNER_KEY);
        (address payer, address provider) = (account(c.payer), account(c.provider));
        if (kind == 8) {
            if (c.closeAt != 0 && (c.closed || block.timestamp >= c.closeAt)) return (payer, "");
            return (payer, abi.encodeCall(ledger.finishClose, (payer, provider, signer, c.salt)));
        }
        if (kind == 9) return (guardian, abi.encodeCall(ledger.closeByProvider, (payer, signer, c.salt)));
        if (kind == 10) return (payer, abi.encodeCall(ledger.open, (provider, signer, c.salt, 1)));
        if (kind == 11) {
            if (c.closeAt == 0 && !c.closed) return (payer, "");
            return (payer, abi.encodeCall(ledger.topUp, (provider, signer, c.salt, 1)));
        }
        return (payer, abi.encodeCall(ledger.withdraw, (payer, expected[c.payer] + 1)));
    }

    function _badJobCall(uint256 which, uint256 kind, uint96 amount) private returns (address, bytes memory) {
        if (kind == 18) return (account(which), abi.encodeCall(ledger.pause, ()));
        if (kind == 13) return _stepOfEnded(which, amount);
        if (kind == 19) return _changedTerms(which, amount);
        if (kind == 14) return _lateDispute(which);
        bool disputed = kind == 15;
        bool open = kind == 17;
        (bool found, Bonded storage j) = _jobIn(
            which,
            disputed
                ? IComputeLedger.JobState.Disputed
                : open ? IComputeLedger.JobState.Open : IComputeLedger.JobState.Submitted
        );
        if (!found) return (address(0), "");
        if (disputed) return (account(which), abi.encodeCall(ledger.resolve, (j.terms, j.terms.price)));
        if (block.timestamp > (open ? j.terms.deadline : j.since + j.terms.window)) return (address(0), "");
        if (open) return (account(j.payer), abi.encodeCall(ledger.reclaim, (j.terms)));
        return (account(j.provider), abi.encodeCall(ledger.finalize, (j.terms)));
    }

    /// @dev Seldom anything is late by itself: now and then the time of one passes for this.
    function _lateDispute(uint256 which) private returns (address, bytes memory) {
        for (uint256 k; k < _jobs.length; ++k) {
            Bonded storage j = _jobs[(which % _jobs.length + k) % _jobs.length];
            if (j.state != IComputeLedger.JobState.Submitted) continue;
            if (expected[j.payer] < j.terms.disputeBond) continue; // that alone would forbid it
            if (block.timestamp <= j.since + j.terms.window) {
                if (which % 4 != 0) continue;
                vm.warp(j.since + j.terms.window + 1);
            }
            return (account(j.payer), abi.encodeCall(ledger.dispute, (j.terms)));
        }
        return (address(0), "");
    }

    function _stepOfEnded(uint256 which, uint96 step) private view returns (address, bytes memory) {
        uint256 k;
        while (k < _jobs.length && _jobs[(which % _jobs.length + k) % _jobs.length].state < ENDED) ++k;
        if (k == _jobs.length) return (address(0), "");
        Bonded storage j = _jobs[(which % _jobs.length + k) % _jobs.length];
        step %= 7;
        if (step == 0) return (account(j.provider), abi.encodeCall(ledger.submitResult, (j.terms, 0)));
        if (step == 1) return (account(j.payer), abi.encodeCall(ledger.acceptResult, (j.terms, 0, "")));
        if (step == 2) return (account(j.payer), abi.encodeCall(ledger.finalize, (j.terms)));
        if (step == 3) return (account(j.payer), abi.encodeCall(ledger.reclaim, (j.terms)));
        if (step == 4) return (account(j.payer), abi.encodeCall(ledger.dispute, (j.terms)));
        if (step == 5) return (j.terms.arbiter, abi.encodeCall(ledger.resolve, (j.terms, 0)));
        return (account(j.payer), abi.encodeCall(ledger.arbiterSilent, (j.terms)));
    }

    /// @dev A provider signs terms; the payer sends others.
    function _changedTerms(uint256 which, uint96 field) private view returns (address, bytes memory) {
        uint256 payer = _rich(which);
        uint256 provider = (payer + 1) % KEYS;
        IComputeLedger.Terms memory t = IComputeLedger.Terms(
            account(payer), account(provider), address(0xA4B), 2, 0, 1, uint64(block.timestamp) + 1 hours, 1 hours,
            1 hours, bytes32(which), bytes32(uint256(field))
        );
        bytes memory signature =
            _sign(100 + provider, TypedData.digest(ledger.domainSeparator(), ledger.jobId(t)));
        field %= 7;
        if (field == 0) t.price -= 1;
        if (field == 1) t.disputeBond -= 1;
        if (field == 2) t.deadline += 1;
        if (field == 3) t.window -= 1;
        if (field == 4) t.arbiterWindow += 1;
        if (field == 5) t.arbiter = address(0xBAD);
        if (field == 6) t.spec = keccak256("other");
        return (account(payer), abi.encodeCall(ledger.openJob, (t, signature)));
    }
}
