// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {IComputeLedger} from "./interfaces/IComputeLedger.sol";
import {IERC3009} from "./interfaces/IERC3009.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {TypedData} from "./libraries/TypedData.sol";

/// @title Channels and bonded jobs of one compute network, in one ERC-20
/// @dev Amounts are the token's smallest units. State of a channel and of a job is one slot each. What is locked is no
/// number of its own: it is the sum of deposits minus claims of open channels and of the stakes of open jobs.
contract ComputeLedger is IComputeLedger, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    uint64 private constant CLOSED = type(uint64).max;

    address public immutable token;
    bytes32 public immutable network;
    address public immutable guardian;
    uint64 public immutable closeWindow;
    uint256 private immutable _chainId;
    bytes32 private immutable _separator;

    /// @dev The number of settlements shares the slot of the balance that a settlement writes anyway.
    struct Account {
        uint128 balance;
        uint128 settlements;
    }

    mapping(address account => Account) private _accounts;
    mapping(bytes32 channel => Channel) public channels;
    mapping(bytes32 job => Job) public jobs;
    uint256 public transactionCount;
    bool public paused;

    constructor(address token_, bytes32 network_, address guardian_, uint64 closeWindow_) {
        if (token_ == address(0)) revert ZeroAddress();
        token = token_;
        network = network_;
        guardian = guardian_;
        closeWindow = closeWindow_;
        _chainId = block.chainid;
        _separator = TypedData.separator(network_);
    }

    modifier whenNotPaused() {
        if (paused) revert Paused();
        _;
    }

    // Balances.

    /// @inheritdoc IComputeLedger
    function deposit(address to, uint256 amount) external nonReentrant whenNotPaused {
        _pull(msg.sender, to, amount);
    }

    /// @inheritdoc IComputeLedger
    function depositWithPermit(address to, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
        whenNotPaused
    {
        // Whoever saw the permit may have spent it first; then the allowance is there all the same.
        try IERC20Permit(token).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        _pull(msg.sender, to, amount);
    }

    /// @inheritdoc IComputeLedger
    function depositWithAuthorization(
        address from,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant whenNotPaused {
        if (amount == 0) revert ZeroAmount();
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC3009(token).receiveWithAuthorization(
            from, address(this), amount, validAfter, validBefore, nonce, v, r, s
        );
        _credit(from, from, amount, before);
    }

    /// @inheritdoc IComputeLedger
    function withdraw(address to, uint256 amount) external nonReentrant {
        if (to == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        _debit(msg.sender, amount);
        emit Withdrawn(msg.sender, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    // Channels.

    /// @inheritdoc IComputeLedger
    function open(address provider, address signer, bytes32 salt, uint96 amount)
        external
        nonReentrant
        whenNotPaused
        returns (bytes32 channel)
    {
        if (provider == address(0) || signer == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        channel = channelId(msg.sender, provider, signer, salt);
        Channel storage state = channels[channel];
        if (state.deposit != 0 || state.closeAt != 0) revert ChannelExists(channel);
        _debit(msg.sender, amount);
        state.deposit = amount;
        ++transactionCount;
        emit ChannelOpened(channel, msg.sender, provider, signer, salt, amount);
    }

    /// @inheritdoc IComputeLedger
    function topUp(address provider, address signer, bytes32 salt, uint96 amount)
        external
        nonReentrant
        whenNotPaused
    {
        if (amount == 0) revert ZeroAmount();
        bytes32 channel = channelId(msg.sender, provider, signer, salt);
        Channel memory state = channels[channel];
        // A channel that is closing takes nothing more: its payer has said that it leaves.
        if (state.deposit == 0 || state.closeAt != 0) revert ChannelNotOpen(channel);
        _debit(msg.sender, amount);
        channels[channel].deposit = state.deposit + amount;
        emit ChannelToppedUp(channel, amount);
    }

    /// @inheritdoc IComputeLedger
    function settle(Claim calldata claim) external nonReentrant {
        _pay(claim.provider, _settle(claim), 1);
    }

    /// @inheritdoc IComputeLedger
    function settleMany(Claim[] calldata claims) external nonReentrant {
        uint256 count = claims.length;
        if (count == 0) revert ZeroAmount();
        // Claims of one provider in a row share one write of its balance.
        address provider = claims[0].provider;
        uint128 owed = 0;
        uint128 settled = 0;
        for (uint256 i; i < count; ++i) {
            Claim calldata claim = claims[i];
            if (claim.provider != provider) {
                _pay(provider, owed, settled);
                provider = claim.provider;
                owed = 0;
                settled = 0;
            }
            owed += _settle(claim);
            ++settled;
        }
        _pay(provider, owed, settled);
    }

    /// @inheritdoc IComputeLedger
    function startClose(address provider, address signer, bytes32 salt) external nonReentrant {
        bytes32 channel = channelId(msg.sender, provider, signer, salt);
        Channel memory state = channels[channel];
        if (state.closeAt == CLOSED || state.deposit == 0) revert ChannelNotOpen(channel);
        if (state.closeAt != 0) revert AlreadyClosing(channel);
        uint64 closeAt = uint64(block.timestamp) + closeWindow;
        channels[channel].closeAt = closeAt;
        emit CloseStarted(channel, closeAt);
    }

    /// @inheritdoc IComputeLedger
    function finishClose(address payer, address provider, address signer, bytes32 salt) external nonReentrant {
        bytes32 channel = channelId(payer, provider, signer, salt);
        Channel memory state = channels[channel];
        if (state.closeAt == 0 || state.closeAt == CLOSED) revert ChannelNotClosing(channel);
        if (block.timestamp < state.closeAt) revert CloseWindowOpen(state.closeAt);
        _close(channel, payer, state);
    }

    /// @inheritdoc IComputeLedger
    function closeByProvider(address payer, address signer, bytes32 salt) external nonReentrant {
        bytes32 channel = channelId(payer, msg.sender, signer, salt);
        Channel memory state = channels[channel];
        if (state.closeAt == CLOSED || state.deposit == 0) revert ChannelNotOpen(channel);
        _close(channel, payer, state);
    }

    // Jobs with bonds.

    /// @inheritdoc IComputeLedger
    function openJob(Terms calldata terms, bytes calldata providerSignature) external nonReentrant whenNotPaused {
        if (msg.sender != terms.payer) revert NotParty(msg.sender);
        if (terms.price == 0 || terms.provider == address(0) || terms.arbiter == address(0)) revert InvalidTerms();
        if (
            terms.arbiter == terms.payer || terms.arbiter == terms.provider || terms.payer == terms.provider
                || terms.window > 365 days || terms.arbiterWindow > 365 days
        ) revert InvalidTerms();
        // The sum of all that can be locked must fit an amount.
        if (uint256(terms.price) + terms.providerBond + terms.disputeBond > type(uint96).max) revert InvalidTerms();
        if (block.timestamp > terms.deadline) revert DeadlinePassed(terms.deadline);
        bytes32 job = jobId(terms);
        if (jobs[job].state != JobState.None) revert WrongJobState(jobs[job].state);
        bytes32 signed = TypedData.digest(domainSeparator(), TypedData.hashTerms(terms));
        if (!Signatures.isValid(terms.provider, signed, providerSignature)) revert InvalidSignature();
        _debit(terms.payer, terms.price);
        if (terms.providerBond != 0) _debit(terms.provider, terms.providerBond);
        jobs[job] = Job(JobState.Open, uint64(block.timestamp));
        ++transactionCount;
        emit JobOpened(job, terms.payer, terms.provider, terms);
    }

    /// @inheritdoc IComputeLedger
    function submitResult(Terms calldata terms, bytes32 result) external nonReentrant {
        if (msg.sender != terms.provider) revert NotParty(msg.sender);
        bytes32 job = _jobIn(terms, JobState.Open);
        if (block.timestamp > terms.deadline) revert DeadlinePassed(terms.deadline);
        jobs[job] = Job(JobState.Submitted, uint64(block.timestamp));
        emit ResultSubmitted(job, result);
    }

    /// @inheritdoc IComputeLedger
    function acceptResult(Terms calldata terms, bytes32 result, bytes calldata payerSignature) external nonReentrant {
        bytes32 job = jobId(terms);
        JobState state = jobs[job].state;
        if (state != JobState.Open && state != JobState.Submitted) revert WrongJobState(state);
        if (msg.sender != terms.payer) {
            bytes32 signed = TypedData.digest(domainSeparator(), TypedData.hashAcceptance(job, result));
            if (!Signatures.isValid(terms.payer, signed, payerSignature)) revert InvalidSignature();
        }
        if (state == JobState.Open) emit ResultSubmitted(job, result);
        _end(job, terms, JobState.Accepted, 0, terms.price + terms.providerBond);
    }

    /// @inheritdoc IComputeLedger
    function finalize(Terms calldata terms) external nonReentrant {
        bytes32 job = _jobIn(terms, JobState.Submitted);
        uint64 until = jobs[job].since + terms.window;
        if (block.timestamp <= until) revert WindowOpen(until);
        _end(job, terms, JobState.Finalized, 0, terms.price + terms.providerBond);
    }

    /// @inheritdoc IComputeLedger
    function reclaim(Terms calldata terms) external nonReentrant {
        bytes32 job = _jobIn(terms, JobState.Open);
        if (block.timestamp <= terms.deadline) revert DeadlineNotPassed(terms.deadline);
        _end(job, terms, JobState.Reclaimed, terms.price + terms.providerBond, 0);
    }

    /// @inheritdoc IComputeLedger
    function dispute(Terms calldata terms) external nonReentrant {
        if (msg.sender != terms.payer) revert NotParty(msg.sender);
        bytes32 job = _jobIn(terms, JobState.Submitted);
        uint64 until = jobs[job].since + terms.window;
        if (block.timestamp > until) revert WindowClosed(until);
        if (terms.disputeBond != 0) _debit(terms.payer, terms.disputeBond);
        jobs[job] = Job(JobState.Disputed, uint64(block.timestamp));
        emit JobDisputed(job, uint64(block.timestamp) + terms.arbiterWindow);
    }

    /// @inheritdoc IComputeLedger
    function resolve(Terms calldata terms, uint96 toProvider) external nonReentrant {
        if (msg.sender != terms.arbiter) revert NotParty(msg.sender);
        bytes32 job = _jobIn(terms, JobState.Disputed);
        uint64 until = jobs[job].since + terms.arbiterWindow;
        if (block.timestamp > until) revert WindowClosed(until);
        if (toProvider > terms.price) revert ShareTooLarge(terms.price, toProvider);
        uint96 all = terms.price + terms.providerBond + terms.disputeBond;
        uint96 share = toProvider + terms.providerBond;
        if (toProvider == terms.price) share = all;
        else if (toProvider == 0) share = 0;
        _end(job, terms, JobState.Resolved, all - share, share);
    }

    /// @inheritdoc IComputeLedger
    function arbiterSilent(Terms calldata terms) external nonReentrant {
        bytes32 job = _jobIn(terms, JobState.Disputed);
        uint64 until = jobs[job].since + terms.arbiterWindow;
        if (block.timestamp <= until) revert WindowOpen(until);
        uint96 half = terms.price / 2;
        _end(job, terms, JobState.Split, terms.price - half + terms.disputeBond, half + terms.providerBond);
    }

    // The guardian.

    /// @inheritdoc IComputeLedger
    function pause() external {
        _setPaused(true);
    }

    /// @inheritdoc IComputeLedger
    function unpause() external {
        _setPaused(false);
    }

    // Reading.

    /// @inheritdoc IComputeLedger
    function balanceOf(address account) external view returns (uint256) {
        return _accounts[account].balance;
    }

    /// @inheritdoc IComputeLedger
    function settlementsOf(address account) external view returns (uint256) {
        return _accounts[account].settlements;
    }

    // Ids and the domain.

    /// @inheritdoc IComputeLedger
    function channelId(address payer, address provider, address signer, bytes32 salt) public pure returns (bytes32) {
        return keccak256(abi.encode(payer, provider, signer, salt));
    }

    /// @inheritdoc IComputeLedger
    function jobId(Terms calldata terms) public pure returns (bytes32) {
        return TypedData.hashTerms(terms);
    }

    /// @inheritdoc IComputeLedger
    function domainSeparator() public view returns (bytes32) {
        // A chain that forks gets another id, and with it another domain.
        return block.chainid == _chainId ? _separator : TypedData.separator(network);
    }

    /// @inheritdoc IComputeLedger
    function eip712Domain()
        external
        view
        returns (bytes1, string memory, string memory, uint256, address, bytes32, uint256[] memory)
    {
        return (hex"1f", "farlane", "1", block.chainid, address(this), network, new uint256[](0));
    }

    // Inside.

    function _pull(address from, address to, uint256 amount) private {
        if (to == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(from, address(this), amount);
        _credit(to, from, amount, before);
    }

    /// @dev Believes the token's balance, not its word: a token that keeps a fee is refused.
    function _credit(address to, address from, uint256 amount, uint256 before) private {
        uint256 received = IERC20(token).balanceOf(address(this)) - before;
        if (received != amount) revert FeeOnTransfer(amount, received);
        if (amount > type(uint96).max) revert AmountTooLarge(amount);
        _accounts[to].balance += uint128(amount);
        emit Deposited(to, from, amount);
    }

    function _debit(address account, uint256 amount) private {
        uint128 balance = _accounts[account].balance;
        if (balance < amount) revert InsufficientBalance(balance, amount);
        unchecked {
            _accounts[account].balance = balance - uint128(amount);
        }
    }

    /// @dev Credits a provider for a number of settlements, in one write.
    function _pay(address provider, uint128 amount, uint128 settled) private {
        Account memory known = _accounts[provider];
        _accounts[provider] = Account(known.balance + amount, known.settlements + settled);
    }

    /// @dev Takes what is new in a voucher out of its channel; crediting it is the caller's part.
    function _settle(Claim calldata claim) private returns (uint96 paid) {
        bytes32 channel = channelId(claim.payer, claim.provider, claim.signer, claim.salt);
        Channel storage slot = channels[channel];
        uint96 claimed = slot.claimed;
        uint96 limit = slot.deposit;
        if (limit == 0 || slot.closeAt == CLOSED) revert ChannelNotOpen(channel);
        uint96 cumulative = claim.cumulative;
        if (cumulative <= claimed) revert NothingToClaim(claimed, cumulative);
        if (cumulative > limit) revert DepositExceeded(limit, cumulative);
        bytes32 signed = TypedData.digest(
            domainSeparator(), TypedData.hashVoucher(channel, cumulative, claim.tasks, claim.root)
        );
        slot.claimed = cumulative;
        unchecked {
            paid = cumulative - claimed;
        }
        emit VoucherSettled(channel, cumulative, paid, claim.tasks, claim.root);
        // Last, since a contract that signs (ERC-1271) is called; it is a static call under the guard.
        if (!Signatures.isValid(claim.signer, signed, claim.signature)) revert InvalidSignature();
    }

    function _close(bytes32 channel, address payer, Channel memory state) private {
        uint96 refund = state.deposit - state.claimed;
        channels[channel].closeAt = CLOSED;
        if (refund != 0) _accounts[payer].balance += refund;
        emit ChannelClosed(channel, refund);
    }

    function _jobIn(Terms calldata terms, JobState expected) private view returns (bytes32 job) {
        job = jobId(terms);
        JobState state = jobs[job].state;
        if (state != expected) revert WrongJobState(state);
    }

    function _end(bytes32 job, Terms calldata terms, JobState state, uint96 toPayer, uint96 toProvider) private {
        jobs[job] = Job(state, uint64(block.timestamp));
        if (toPayer != 0) _accounts[terms.payer].balance += toPayer;
        _pay(terms.provider, toProvider, toProvider != 0 ? 1 : 0);
        emit JobEnded(job, state, toPayer, toProvider);
    }

    function _setPaused(bool paused_) private {
        if (msg.sender != guardian) revert NotGuardian();
        paused = paused_;
        emit PauseChanged(paused_);
    }
}
