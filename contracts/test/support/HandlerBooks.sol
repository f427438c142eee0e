// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ComputeLedger} from "../../src/ComputeLedger.sol";
import {CreditToken} from "../../src/CreditToken.sol";
import {IComputeLedger} from "../../src/interfaces/IComputeLedger.sol";
import {TypedData} from "../../src/libraries/TypedData.sol";
import {Checks, vm} from "./Vm.sol";

/// @notice The books a handler keeps of what must follow from what it did, and the ways to pick something to do it to.
abstract contract HandlerBooks is Checks {
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
    uint256 internal _serial;

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

    // Inside.

    function done(string memory action) internal {
        ++succeeded[action];
    }

    function _rich(uint256 seed) internal view returns (uint256) {
        for (uint256 k; k < KEYS; ++k) {
            uint256 who = (seed % KEYS + k) % KEYS;
            if (expected[who] >= 100) return who;
        }
        return seed % KEYS;
    }

    function _openChannels() internal view returns (uint256 count) {
        for (uint256 i; i < channels.length; ++i) {
            if (!channels[i].closed) ++count;
        }
    }

    function _pick(uint256 seed, bool claimable) internal view returns (bool, uint256) {
        uint256 count = channels.length;
        for (uint256 k; k < count; ++k) {
            uint256 i = (seed % count + k) % count;
            if (!channels[i].closed && (!claimable || channels[i].claimed < channels[i].deposit)) return (true, i);
        }
        return (false, 0);
    }

    function _claim(uint256 i, uint96 amount, uint64 tasks) internal view returns (IComputeLedger.Claim memory claim) {
        Known storage c = channels[i];
        uint256 most = uint256(c.claimed) + (uint256(c.deposit) - c.claimed) / 3 + 1;
        claim = IComputeLedger.Claim(
            account(c.payer), account(c.provider), vm.addr(SIGNER_KEY), c.salt,
            uint96(bound(amount, uint256(c.claimed) + 1, most)), tasks, bytes32(uint256(tasks)), ""
        );
        claim.signature = _signed(claim, SIGNER_KEY);
    }

    function _signed(IComputeLedger.Claim memory claim, uint256 key) internal view returns (bytes memory) {
        bytes32 id = ledger.channelId(claim.payer, claim.provider, claim.signer, claim.salt);
        bytes32 body = TypedData.hashVoucher(id, claim.cumulative, claim.tasks, claim.root);
        return _sign(key, TypedData.digest(ledger.domainSeparator(), body));
    }

    function _sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _settled(uint256 i, uint96 cumulative) internal {
        Known storage c = channels[i];
        expected[c.provider] += cumulative - c.claimed;
        c.claimed = cumulative;
    }

    function _closed(Known storage c) internal {
        expected[c.payer] += c.deposit - c.claimed;
        c.closed = true;
    }

    function _jobIn(uint256 seed, IComputeLedger.JobState state) internal view returns (bool, Bonded storage) {
        uint256 count = _jobs.length;
        for (uint256 k; k < count; ++k) {
            Bonded storage found = _jobs[(seed % count + k) % count];
            if (found.state == state) return (true, found);
        }
        return (false, _jobs[0]);
    }

    function _to(Bonded storage j, IComputeLedger.JobState state) internal {
        j.state = state;
        j.since = uint64(block.timestamp);
    }

    function _locked(Bonded storage j) internal view returns (uint256) {
        if (j.state == IComputeLedger.JobState.Open || j.state == IComputeLedger.JobState.Submitted) {
            return uint256(j.terms.price) + j.terms.providerBond;
        }
        if (j.state != IComputeLedger.JobState.Disputed) return 0;
        return uint256(j.terms.price) + j.terms.providerBond + j.terms.disputeBond;
    }
}
