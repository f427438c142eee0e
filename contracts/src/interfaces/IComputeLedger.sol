// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Channels and bonded jobs of one compute network, in one ERC-20
/// @notice Work moves on signed promises; money moves here, rarely. A payer opens a channel to a provider with a
/// deposit and names a signer. The signer's vouchers promise a cumulative amount for a number of tasks and anchor the
/// root of the tree of their receipts. The provider, or anyone for it, settles the newest voucher whenever it likes.
/// @dev Immutable: no owner, no proxy, no fee. The guardian can pause what brings money in, never what takes it out.
interface IComputeLedger {
    /// @notice A channel. `closeAt` is 0 while it is open and 2^64 - 1 for ever once it is closed; in between it is
    /// the time from which the payer's close can be finished.
    struct Channel {
        uint96 deposit;
        uint96 claimed;
        uint64 closeAt;
    }

    /// @notice A voucher to settle: who it is between, what the signer has signed, and the signature.
    struct Claim {
        address payer;
        address provider;
        address signer;
        bytes32 salt;
        uint96 cumulative;
        uint64 tasks;
        bytes32 root;
        bytes signature;
    }

    /// @notice The terms of a job with bonds; payer and provider both sign them (the payer by sending them).
    /// @param deadline Unix seconds until which the provider must submit a result.
    /// @param window Seconds after the submission in which the payer may dispute.
    /// @param arbiterWindow Seconds after the dispute in which the arbiter may resolve.
    struct Terms {
        address payer;
        address provider;
        address arbiter;
        uint96 price;
        uint96 providerBond;
        uint96 disputeBond;
        uint64 deadline;
        uint64 window;
        uint64 arbiterWindow;
        bytes32 spec;
        bytes32 salt;
    }

    /// @notice Where a job stands. The last five are final.
    enum JobState {
        None,
        Open,
        Submitted,
        Disputed,
        Accepted,
        Finalized,
        Reclaimed,
        Resolved,
        Split
    }

    /// @notice One slot a job: its state and the time of its last step, unix seconds.
    struct Job {
        JobState state;
        uint64 since;
    }

    /// @notice The guardian has paused what brings money in.
    error Paused();
    /// @notice Only the guardian pauses and unpauses.
    error NotGuardian();
    /// @notice An account that must be named is the zero address.
    error ZeroAddress();
    /// @notice An amount, or a batch, is empty.
    error ZeroAmount();
    /// @notice Amounts are 96 bits.
    error AmountTooLarge(uint256 amount);
    /// @notice The token has not moved what it was told to.
    error TransferFailed();
    /// @notice The token kept a part of a transfer; such tokens are refused.
    error FeeOnTransfer(uint256 expected, uint256 received);
    /// @notice An account's free balance does not cover it.
    error InsufficientBalance(uint256 balance, uint256 needed);
    /// @notice A channel's id is used once, ever: also a closed one keeps it.
    error ChannelExists(bytes32 channel);
    /// @notice There is no such channel, it is closed, or it is closing and takes nothing more.
    error ChannelNotOpen(bytes32 channel);
    /// @notice Nobody has announced a close that could be finished.
    error ChannelNotClosing(bytes32 channel);
    /// @notice The payer has announced the close before.
    error AlreadyClosing(bytes32 channel);
    /// @notice The provider can still settle until this time, unix seconds.
    error CloseWindowOpen(uint64 until);
    /// @notice The voucher promises no more than was claimed already.
    error NothingToClaim(uint96 claimed, uint96 cumulative);
    /// @notice The voucher promises more than the channel holds.
    error DepositExceeded(uint96 deposit, uint96 cumulative);
    /// @notice Not signed by whom it must be, or for another network, chain, contract, or other fields.
    error InvalidSignature();
    /// @notice The job is in this state, which does not allow the step.
    error WrongJobState(JobState state);
    /// @notice This step belongs to another of payer, provider and arbiter.
    error NotParty(address caller);
    /// @notice It is too late for a result.
    error DeadlinePassed(uint64 deadline);
    /// @notice The provider still has time for a result.
    error DeadlineNotPassed(uint64 deadline);
    /// @notice Another side can still act until this time, unix seconds.
    error WindowOpen(uint64 until);
    /// @notice The time to act ended at this time, unix seconds.
    error WindowClosed(uint64 until);
    /// @notice Terms without price or parties, with one party in two places, windows above a year or sums above 96 bits.
    error InvalidTerms();
    /// @notice An arbiter cannot give the provider more than the price.
    error ShareTooLarge(uint96 price, uint96 toProvider);

    /// @notice Tokens came in for `account`, from `from`.
    event Deposited(address indexed account, address indexed from, uint256 amount);
    /// @notice Tokens of `account` went out to `to`.
    event Withdrawn(address indexed account, address indexed to, uint256 amount);
    /// @notice A channel was opened with a deposit; a trade.
    event ChannelOpened(
        bytes32 indexed channel,
        address indexed payer,
        address indexed provider,
        address signer,
        bytes32 salt,
        uint96 amount
    );
    /// @notice A channel's deposit grew by `amount`.
    event ChannelToppedUp(bytes32 indexed channel, uint96 amount);
    /// @notice A voucher was settled: `paid` of its `cumulative` was new; `root` anchors the receipts of its first `tasks`.
    event VoucherSettled(bytes32 indexed channel, uint96 cumulative, uint96 paid, uint64 tasks, bytes32 root);
    /// @notice The payer has announced a close; it can be finished from `closeAt`, unix seconds.
    event CloseStarted(bytes32 indexed channel, uint64 closeAt);
    /// @notice A channel is closed for ever; `refunded` went back to the payer.
    event ChannelClosed(bytes32 indexed channel, uint96 refunded);
    /// @notice A job was opened: price and provider's bond are locked; a trade.
    event JobOpened(bytes32 indexed job, address indexed payer, address indexed provider, Terms terms);
    /// @notice The provider has committed to a result.
    event ResultSubmitted(bytes32 indexed job, bytes32 result);
    /// @notice The payer disputes; the arbiter can resolve until then, unix seconds.
    event JobDisputed(bytes32 indexed job, uint64 until);
    /// @notice A job has ended; `toPayer` and `toProvider` are all that was locked for it.
    event JobEnded(bytes32 indexed job, JobState state, uint96 toPayer, uint96 toProvider);
    /// @notice The guardian has paused or unpaused what brings money in.
    event PauseChanged(bool paused);
    /// @notice EIP-5267: never emitted, the domain is immutable.
    event EIP712DomainChanged();

    // Where and what.

    /// @notice The one ERC-20 everything is paid in.
    function token() external view returns (address);
    /// @notice The network's id; the salt of the EIP-712 domain.
    function network() external view returns (bytes32);
    /// @notice Who may pause what brings money in; the zero address: nobody.
    function guardian() external view returns (address);
    /// @notice Seconds a provider has to settle after its payer announced a close.
    function closeWindow() external view returns (uint64);
    /// @notice Whether deposits, new channels, top-ups and new jobs are stopped.
    function paused() external view returns (bool);
    /// @notice How many trades are on record: every channel and every job with bonds that was ever opened is one.
    function transactionCount() external view returns (uint256);
    /// @notice How often an account was paid for work: vouchers settled for it, and jobs that ended in its favour.
    function settlementsOf(address account) external view returns (uint256);
    /// @notice An account's free balance here.
    function balanceOf(address account) external view returns (uint256);
    /// @notice A channel by its id; all zeros for one that never was.
    function channels(bytes32 channel) external view returns (uint96 deposit, uint96 claimed, uint64 closeAt);
    /// @notice A job by its id, and the time of its last step, unix seconds.
    function jobs(bytes32 job) external view returns (JobState state, uint64 since);
    /// @notice keccak256(abi.encode(payer, provider, signer, salt)).
    function channelId(address payer, address provider, address signer, bytes32 salt) external pure returns (bytes32);
    /// @notice The EIP-712 struct hash of the terms.
    function jobId(Terms calldata terms) external pure returns (bytes32);
    /// @notice The EIP-712 domain of this contract on this chain.
    function domainSeparator() external view returns (bytes32);
    /// @notice EIP-5267: where signatures for this contract count.
    function eip712Domain()
        external
        view
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        );

    // Balances.

    /// @notice Pull `amount` tokens from the caller and credit them to `to`.
    function deposit(address to, uint256 amount) external;

    /// @notice Deposit with the caller's ERC-2612 permit. A permit somebody else has already spent is no obstacle.
    function depositWithPermit(address to, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice Deposit for `from`, who has signed an ERC-3009 ReceiveWithAuthorization to this contract; anyone may send it.
    function depositWithAuthorization(
        address from,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Pay `amount` of the caller's balance out to `to`.
    function withdraw(address to, uint256 amount) external;

    // Channels.

    /// @notice Open a channel from the caller, locking `amount` of its balance. An id is used once, ever.
    function open(address provider, address signer, bytes32 salt, uint96 amount) external returns (bytes32 channel);

    /// @notice Lock more of the caller's balance in a channel that is open.
    function topUp(address provider, address signer, bytes32 salt, uint96 amount) external;

    /// @notice Settle one voucher: the provider is credited what is new in it. Anyone may send it, also while a close
    /// is under way.
    function settle(Claim calldata claim) external;

    /// @notice Settle several; all or none.
    function settleMany(Claim[] calldata claims) external;

    /// @notice The payer announces that it closes a channel; the provider can settle for `closeWindow` seconds more, and
    /// on until someone finishes the close.
    function startClose(address provider, address signer, bytes32 salt) external;

    /// @notice After the window anyone may finish: what was not claimed goes back to the payer.
    function finishClose(address payer, address provider, address signer, bytes32 salt) external;

    /// @notice The provider may close its channel at once.
    function closeByProvider(address payer, address signer, bytes32 salt) external;

    // Jobs with bonds.

    /// @notice The payer opens a job the provider has agreed to: the price of one and the bond of the other are locked.
    function openJob(Terms calldata terms, bytes calldata providerSignature) external;

    /// @notice The provider commits to a result before the deadline.
    function submitResult(Terms calldata terms, bytes32 result) external;

    /// @notice The payer accepts, by sending this or by its signature over Acceptance(job, result): price and bond go to
    /// the provider. With a signature a result need not have been submitted before.
    function acceptResult(Terms calldata terms, bytes32 result, bytes calldata payerSignature) external;

    /// @notice Nobody disputed within the window: price and bond go to the provider.
    function finalize(Terms calldata terms) external;

    /// @notice The provider missed the deadline: price and bond go to the payer.
    function reclaim(Terms calldata terms) external;

    /// @notice The payer disputes a result within the window and locks the dispute bond.
    function dispute(Terms calldata terms) external;

    /// @notice The arbiter gives the provider a part of the price. All of it: the dispute bond too. None: the payer gets
    /// everything. Otherwise both get their bonds back.
    function resolve(Terms calldata terms, uint96 toProvider) external;

    /// @notice The arbiter stayed silent: both get their bonds back and half the price, the payer the odd unit.
    function arbiterSilent(Terms calldata terms) external;

    // The guardian.

    /// @notice Stop deposits, new channels, top-ups and new jobs. No exit can be paused.
    function pause() external;
    /// @notice Let money in again.
    function unpause() external;
}
