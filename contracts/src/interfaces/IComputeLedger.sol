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

    error Paused();
    error NotGuardian();
    error ZeroAddress();
    error ZeroAmount();
    error AmountTooLarge(uint256 amount);
    error TransferFailed();
    error FeeOnTransfer(uint256 expected, uint256 received);
    error InsufficientBalance(uint256 balance, uint256 needed);
    error ChannelExists(bytes32 channel);
    error ChannelNotOpen(bytes32 channel);
    error ChannelNotClosing(bytes32 channel);
    error AlreadyClosing(bytes32 channel);
    error CloseWindowOpen(uint64 until);
    error NothingToClaim(uint96 claimed, uint96 cumulative);
    error DepositExceeded(uint96 deposit, uint96 cumulative);
    error InvalidSignature();
    error WrongJobState(JobState state);
    error NotParty(address caller);
    error DeadlinePassed(uint64 deadline);
    error DeadlineNotPassed(uint64 deadline);
    error WindowOpen(uint64 until);
    error WindowClosed(uint64 until);
    error InvalidTerms();
    error ShareTooLarge(uint96 price, uint96 toProvider);

    event Deposited(address indexed account, address indexed from, uint256 amount);
    event Withdrawn(address indexed account, address indexed to, uint256 amount);
    event ChannelOpened(
        bytes32 indexed channel,
        address indexed payer,
        address indexed provider,
        address signer,
        bytes32 salt,
        uint96 amount
    );
    event ChannelToppedUp(bytes32 indexed channel, uint96 amount);
    event VoucherSettled(bytes32 indexed channel, uint96 cumulative, uint96 paid, uint64 tasks, bytes32 root);
    event CloseStarted(bytes32 indexed channel, uint64 closeAt);
    event ChannelClosed(bytes32 indexed channel, uint96 refunded);
    event JobOpened(bytes32 indexed job, address indexed payer, address indexed provider, Terms terms);
    event ResultSubmitted(bytes32 indexed job, bytes32 result);
    event JobDisputed(bytes32 indexed job, uint64 until);
    /// @notice A job has ended; `toPayer` and `toProvider` are all that was locked for it.
    event JobEnded(bytes32 indexed job, JobState state, uint96 toPayer, uint96 toProvider);
    event PauseChanged(bool paused);
    /// @notice EIP-5267: never emitted, the domain is immutable.
    event EIP712DomainChanged();

    // Where and what.

    function token() external view returns (address);
    function network() external view returns (bytes32);
    function guardian() external view returns (address);
    function closeWindow() external view returns (uint64);
    function paused() external view returns (bool);
    /// @notice How many trades are on record: every channel and every job with bonds that was ever opened is one.
    function transactionCount() external view returns (uint256);
    /// @notice How often an account was paid for work: vouchers settled for it, and jobs that ended in its favour.
    function settlementsOf(address account) external view returns (uint256);
    function balanceOf(address account) external view returns (uint256);
    function channels(bytes32 channel) external view returns (uint96 deposit, uint96 claimed, uint64 closeAt);
    function jobs(bytes32 job) external view returns (JobState state, uint64 since);
    function channelId(address payer, address provider, address signer, bytes32 salt) external pure returns (bytes32);
    function jobId(Terms calldata terms) external pure returns (bytes32);
    function domainSeparator() external view returns (bytes32);
    /// @notice EIP-5267.
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
    function unpause() external;
}
