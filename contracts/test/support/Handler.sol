// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ComputeLedger} from "../../src/ComputeLedger.sol";
import {CreditToken} from "../../src/CreditToken.sol";
import {IComputeLedger} from "../../src/interfaces/IComputeLedger.sol";
import {TypedData} from "../../src/libraries/TypedData.sol";
import {Checks, vm} from "./Vm.sol";

/// @notice Does random things to a ledger, keeps its own books of what must follow, and counts what succeeded.
/// @dev Every action picks something it can be done to, so that long runs do not consist of refusals.
contract Handler is Checks {
    uint256 internal constant KEYS = 4;
    uint256 internal constant SIGNER_KEY = 0x5E55;
    uint256 internal constant MAX_OPEN = 12;

    struct Known {
        bytes32 id;
        uint256 payer;
        uint256 provider;
        bytes32 salt;
        uint96 deposit;
        uint96 claimed;
        uint64 closeAt;
        bool closed;
    }

    struct Bonded {
        bytes32 id;
        IComputeLedger.Terms terms;
        uint256 payer;
        uint256 provider;
        IComputeLedger.JobState state;
        uint64 since;
    }

    ComputeLedger public ledger;
    CreditToken public token;
    address public guardian;
    Known[] public channels;
    Bonded[] internal _jobs;
    uint256 public came;
    uint256 public went;
    mapping(uint256 key => uint256) public expected;
    mapping(string action => uint256) public succeeded;
    uint256 private _serial;

    constructor(ComputeLedger ledger_, CreditToken token_, address guardian_) {
        ledger = ledger_;
        token = token_;
        guardian = guardian_;
        _jobs.push(); // one that never was, so that there is always one to look at
    }

    function account(uint256 key) public pure returns (address) {
        return vm.addr(100 + key % KEYS);
    }

    function channelCount() external view returns (uint256) {
        return channels.length;
    }

    function jobCount() external view returns (uint256) {
        return _jobs.length;
    }

    function job(uint256 index) external view returns (bytes32 id, IComputeLedger.JobState state, uint256 locked) {
        Bonded storage known = _jobs[index];
        return (known.id, known.state, _locked(known));
    }

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

    /// @notice Calls that must never succeed, whatever state everything is in.
    function forbidden(uint256 which, uint256 kind, uint96 amount) external {
        if (channels.length == 0) return;
        Known storage c = channels[which % channels.length];
        IComputeLedger.Claim memory claim = IComputeLedger.Claim(
            account(c.payer), account(c.provider), vm.addr(SIGNER_KEY), c.salt, 0, 1, bytes32(kind), ""
        );
        kind %= 6;
        if (kind == 0) claim.cumulative = uint96(bound(amount, uint256(c.deposit) + 1, type(uint96).max));
        else if (kind == 1) claim.cumulative = uint96(bound(amount, 0, c.claimed));
        else claim.cumulative = uint96(bound(amount, 1, type(uint96).max));
        claim.signature = _signed(claim, kind == 2 ? 0xBAD : SIGNER_KEY);
        bytes memory call = abi.encodeCall(ledger.settle, (claim));
        if (kind == 3) {
            if (c.closeAt != 0 && (c.closed || block.timestamp >= c.closeAt)) return;
            call = abi.encodeCall(
                ledger.finishClose, (account(c.payer), account(c.provider), vm.addr(SIGNER_KEY), c.salt)
            );
        } else if (kind == 4) {
            call = abi.encodeCall(ledger.withdraw, (address(this), expected[c.payer] + 1));
        } else if (kind == 5) {
            if (!c.closed) return;
            claim.cumulative = uint96(bound(amount, 1, type(uint96).max));
            claim.signature = _signed(claim, SIGNER_KEY);
            call = abi.encodeCall(ledger.settle, (claim));
        }
        vm.prank(account(c.payer));
        (bool done_,) = address(ledger).call(call);
        yes(!done_, "a forbidden call succeeded");
        done("forbidden");
    }

    // Inside.

    function done(string memory action) private {
        ++succeeded[action];
    }

    function _rich(uint256 seed) private view returns (uint256) {
        for (uint256 k; k < KEYS; ++k) {
            uint256 who = (seed % KEYS + k) % KEYS;
            if (expected[who] >= 100) return who;
        }
        return seed % KEYS;
    }

    function _openChannels() private view returns (uint256 count) {
        for (uint256 i; i < channels.length; ++i) {
            if (!channels[i].closed) ++count;
        }
    }

    function _pick(uint256 seed, bool claimable) private view returns (bool, uint256) {
        uint256 count = channels.length;
        for (uint256 k; k < count; ++k) {
            uint256 i = (seed % count + k) % count;
            if (!channels[i].closed && (!claimable || channels[i].claimed < channels[i].deposit)) return (true, i);
        }
        return (false, 0);
    }

    function _claim(uint256 i, uint96 amount, uint64 tasks) private view returns (IComputeLedger.Claim memory claim) {
        Known storage c = channels[i];
        uint256 most = uint256(c.claimed) + (uint256(c.deposit) - c.claimed) / 3 + 1;
        claim = IComputeLedger.Claim(
            account(c.payer), account(c.provider), vm.addr(SIGNER_KEY), c.salt,
            uint96(bound(amount, uint256(c.claimed) + 1, most)), tasks, bytes32(uint256(tasks)), ""
        );
        claim.signature = _signed(claim, SIGNER_KEY);
    }

    function _signed(IComputeLedger.Claim memory claim, uint256 key) private view returns (bytes memory) {
        bytes32 id = ledger.channelId(claim.payer, claim.provider, claim.signer, claim.salt);
        bytes32 body = TypedData.hashVoucher(id, claim.cumulative, claim.tasks, claim.root);
        return _sign(key, TypedData.digest(ledger.domainSeparator(), body));
    }

    function _sign(uint256 key, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _settled(uint256 i, uint96 cumulative) private {
        Known storage c = channels[i];
        expected[c.provider] += cumulative - c.claimed;
        c.claimed = cumulative;
    }

    function _closed(Known storage c) private {
        expected[c.payer] += c.deposit - c.claimed;
        c.closed = true;
    }

    function _jobIn(uint256 seed, IComputeLedger.JobState state) private view returns (bool, Bonded storage) {
        uint256 count = _jobs.length;
        for (uint256 k; k < count; ++k) {
            Bonded storage found = _jobs[(seed % count + k) % count];
            if (found.state == state) return (true, found);
        }
        return (false, _jobs[0]);
    }

    function _to(Bonded storage j, IComputeLedger.JobState state) private {
        j.state = state;
        j.since = uint64(block.timestamp);
    }

    function _locked(Bonded storage j) private view returns (uint256) {
        if (j.state == IComputeLedger.JobState.Open || j.state == IComputeLedger.JobState.Submitted) {
            return uint256(j.terms.price) + j.terms.providerBond;
        }
        if (j.state != IComputeLedger.JobState.Disputed) return 0;
        return uint256(j.terms.price) + j.terms.providerBond + j.terms.disputeBond;
    }
}
