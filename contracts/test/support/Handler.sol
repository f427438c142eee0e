// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ComputeLedger} from "../../src/ComputeLedger.sol";
import {CreditToken} from "../../src/CreditToken.sol";
import {IComputeLedger} from "../../src/interfaces/IComputeLedger.sol";
import {TypedData} from "../../src/libraries/TypedData.sol";
import {Forbidden} from "./Forbidden.sol";
import {HandlerBooks} from "./HandlerBooks.sol";
import {vm} from "./Vm.sol";

/// @notice Does random things to a ledger, keeps its own books of what must follow, and counts what succeeded.
/// @dev Every action picks something it can be done to, so that long runs do not consist of refusals.
contract Handler is Forbidden {
    constructor(ComputeLedger ledger_, CreditToken token_, address guardian_)
        HandlerBooks(ledger_, token_, guardian_)
    {}

    // Actions.

    function deposit(uint256 who, uint96 amount) external {
        who %= KEYS;
        amount = uint96(bound(amount, 1, 1e12));
        token.mint(account(who), amount);
        vm.prank(account(who));
        token.approve(address(ledger), amount);
        vm.prank(account(who));
        ledger.deposit(account(who), amount);
        came += amount;
        expected[who] += amount;
        done("deposit");
    }

    function withdraw(uint256 who, uint96 amount) external {
        who = _rich(who);
        if (expected[who] == 0) return;
        amount = uint96(bound(amount, 1, expected[who] / 4 + 1));
        vm.prank(account(who));
        ledger.withdraw(account(who), amount);
        went += amount;
        expected[who] -= amount;
        done("withdraw");
    }

    function open(uint256 who, uint256 provider, uint96 amount) external {
        who = _rich(who);
        if (expected[who] < 100 || _openChannels() >= MAX_OPEN) return;
        provider %= KEYS;
        amount = uint96(bound(amount, 1, expected[who] / 4));
        bytes32 salt = bytes32(++_serial);
        vm.prank(account(who));
        bytes32 id = ledger.open(account(provider), vm.addr(SIGNER_KEY), salt, amount);
        expected[who] -= amount;
        channels.push(Known(id, who, provider, salt, amount, 0, 0, false));
        done("open");
    }

    function topUp(uint256 which, uint96 amount) external {
        (bool found, uint256 i) = _pick(which, false);
        if (!found || channels[i].closeAt != 0) return;
        Known storage c = channels[i];
        if (expected[c.payer] < 4) return;
        amount = uint96(bound(amount, 1, expected[c.payer] / 4));
        vm.prank(account(c.payer));
        ledger.topUp(account(c.provider), vm.addr(SIGNER_KEY), c.salt, amount);
        expected[c.payer] -= amount;
        c.deposit += amount;
        done("topUp");
    }

    function settle(uint256 which, uint96 amount, uint64 tasks) external {
        (bool found, uint256 i) = _pick(which, true);
        if (!found) return;
        IComputeLedger.Claim memory claim = _claim(i, amount, tasks);
        ledger.settle(claim);
        _settled(i, claim.cumulative);
        done("settle");
    }

    function settleMany(uint256 seed, uint96 amount) external {
        uint256[] memory picked = new uint256[](3);
        uint256 count;
        for (uint256 k; k < channels.length && count < 3; ++k) {
            uint256 i = (seed % channels.length + k) % channels.length;
            if (!channels[i].closed && channels[i].claimed < channels[i].deposit) picked[count++] = i;
        }
        if (count < 2) return;
        IComputeLedger.Claim[] memory claims = new IComputeLedger.Claim[](count);
        for (uint256 k; k < count; ++k) {
            claims[k] = _claim(picked[k], amount, uint64(k));
        }
        ledger.settleMany(claims);
        for (uint256 k; k < count; ++k) {
            _settled(picked[k], claims[k].cumulative);
        }
        done("settleMany");
    }

    function startClose(uint256 which) external {
        (bool found, uint256 i) = _pick(which, false);
        if (!found || channels[i].closeAt != 0) return;
        Known storage c = channels[i];
        vm.prank(account(c.payer));
        ledger.startClose(account(c.provider), vm.addr(SIGNER_KEY), c.salt);
        c.closeAt = uint64(block.timestamp) + ledger.closeWindow();
        done("startClose");
    }

    function finishClose(uint256 which) external {
        for (uint256 k; k < channels.length; ++k) {
            uint256 i = (which % channels.length + k) % channels.length;
            Known storage c = channels[i];
            if (c.closed || c.closeAt == 0) continue;
            if (block.timestamp < c.closeAt) vm.warp(c.closeAt);
            ledger.finishClose(account(c.payer), account(c.provider), vm.addr(SIGNER_KEY), c.salt);
            _closed(c);
            done("finishClose");
            return;
        }
    }

    function closeByProvider(uint256 which) external {
        if (which % 4 != 0) return; // rare, or no channel lives long
        (bool found, uint256 i) = _pick(which / 4, false);
        if (!found) return;
        Known storage c = channels[i];
        vm.prank(account(c.provider));
        ledger.closeByProvider(account(c.payer), vm.addr(SIGNER_KEY), c.salt);
        _closed(c);
        done("closeByProvider");
    }

    function openJob(uint256 who, uint256 provider, uint96 price, uint96 bond, uint96 stake) external {
        who = _rich(who);
        provider = provider % KEYS == who ? (who + 1) % KEYS : provider % KEYS;
        if (expected[who] < 100) return;
        IComputeLedger.Terms memory t = IComputeLedger.Terms(
            account(who), account(provider), address(0xA4B), uint96(bound(price, 1, expected[who] / 4)),
            uint96(bound(bond, 0, expected[provider] / 4)), uint96(bound(stake, 0, expected[who] / 4)),
            uint64(block.timestamp) + 1 hours, 1 hours, 1 hours, bytes32(0), bytes32(++_serial)
        );
        bytes32 id = ledger.jobId(t);
        bytes memory signature = _sign(100 + provider, TypedData.digest(ledger.domainSeparator(), id));
        vm.prank(account(who));
        ledger.openJob(t, signature);
        expected[who] -= t.price;
        expected[provider] -= t.providerBond;
        _jobs.push();
        Bonded storage added = _jobs[_jobs.length - 1];
        (added.id, added.terms, added.payer, added.provider) = (id, t, who, provider);
        _to(added, IComputeLedger.JobState.Open);
        done("openJob");
    }

    function submitResult(uint256 which) external {
        (bool found, Bonded storage j) = _jobIn(which, IComputeLedger.JobState.Open);
        if (!found || block.timestamp > j.terms.deadline) return;
        vm.prank(account(j.provider));
        ledger.submitResult(j.terms, bytes32(which));
        _to(j, IComputeLedger.JobState.Submitted);
        done("submitResult");
    }

    function acceptResult(uint256 which) external {
        (bool found, Bonded storage j) = _jobIn(which, IComputeLedger.JobState.Submitted);
        if (!found) return;
        vm.prank(account(j.payer));
        ledger.acceptResult(j.terms, bytes32(which), "");
        expected[j.provider] += j.terms.price + j.terms.providerBond;
        _to(j, IComputeLedger.JobState.Accepted);
        done("acceptResult");
    }

    function finalize(uint256 which) external {
        (bool found, Bonded storage j) = _jobIn(which, IComputeLedger.JobState.Submitted);
        if (!found) return;
        if (block.timestamp <= j.since + j.terms.window) vm.warp(j.since + j.terms.window + 1);
        ledger.finalize(j.terms);
        expected[j.provider] += j.terms.price + j.terms.providerBond;
        _to(j, IComputeLedger.JobState.Finalized);
        done("finalize");
    }

    function reclaim(uint256 which) external {
        (bool found, Bonded storage j) = _jobIn(which, IComputeLedger.JobState.Open);
        if (!found) return;
        if (block.timestamp <= j.terms.deadline) vm.warp(j.terms.deadline + 1);
        ledger.reclaim(j.terms);
        expected[j.payer] += j.terms.price + j.terms.providerBond;
        _to(j, IComputeLedger.JobState.Reclaimed);
        done("reclaim");
    }

    function dispute(uint256 which) external {
        (bool found, Bonded storage j) = _jobIn(which, IComputeLedger.JobState.Submitted);
        if (!found || block.timestamp > j.since + j.terms.window || expected[j.payer] < j.terms.disputeBond) return;
        vm.prank(account(j.payer));
        ledger.dispute(j.terms);
        expected[j.payer] -= j.terms.disputeBond;
        _to(j, IComputeLedger.JobState.Disputed);
        done("dispute");
    }

    function resolve(uint256 which, uint96 share) external {
        (bool found, Bonded storage j) = _jobIn(which, IComputeLedger.JobState.Disputed);
        if (!found || block.timestamp > j.since + j.terms.arbiterWindow) return;
        share = share % 3 == 0 ? 0 : share % 3 == 1 ? j.terms.price : uint96(bound(share, 0, j.terms.price));
        vm.prank(j.terms.arbiter);
        ledger.resolve(j.terms, share);
        uint256 all = uint256(j.terms.price) + j.terms.providerBond + j.terms.disputeBond;
        uint256 won = share == j.terms.price ? all : share == 0 ? 0 : uint256(share) + j.terms.providerBond;
        expected[j.provider] += won;
        expected[j.payer] += all - won;
        _to(j, IComputeLedger.JobState.Resolved);
        done("resolve");
    }

    function arbiterSilent(uint256 which) external {
        (bool found, Bonded storage j) = _jobIn(which, IComputeLedger.JobState.Disputed);
        if (!found) return;
        if (block.timestamp <= j.since + j.terms.arbiterWindow) vm.warp(j.since + j.terms.arbiterWindow + 1);
        ledger.arbiterSilent(j.terms);
        expected[j.provider] += j.terms.price / 2 + j.terms.providerBond;
        expected[j.payer] += j.terms.price - j.terms.price / 2 + j.terms.disputeBond;
        _to(j, IComputeLedger.JobState.Split);
        done("arbiterSilent");
    }

    function pauseForAMoment(uint256 which) external {
        vm.prank(guardian);
        ledger.pause();
        vm.prank(account(which));
        (bool done_,) = address(ledger).call(abi.encodeCall(ledger.deposit, (account(which), 1)));
        yes(!done_, "nothing comes in while paused");
        (bool found, uint256 i) = _pick(which, true);
        if (found) {
            IComputeLedger.Claim memory claim = _claim(i, uint96(which), 1);
            ledger.settle(claim);
            _settled(i, claim.cumulative);
        }
        vm.prank(guardian);
        ledger.unpause();
        done("pauseForAMoment");
    }
}
