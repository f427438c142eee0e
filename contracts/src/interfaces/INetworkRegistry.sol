// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Nodes and hubs of a network, found on chain
/// @notice An entry is one key of one operator, with where it is reached and how it is recognised. Operators can bond
/// tokens that a slasher, where the network has one, may take for whoever was wronged.
interface INetworkRegistry {
    /// @notice What a key is for.
    enum Kind {
        Node,
        Hub
    }

    /// @notice `tlsKeyHash` is the SHA-256 of the TLS key's SubjectPublicKeyInfo; `descriptor` the SHA-256 inside the CID of
    /// a document that says more.
    struct Entry {
        Kind kind;
        bool retired;
        uint64 updatedAt;
        address operator;
        address key;
        bytes32 tlsKeyHash;
        bytes32 descriptor;
        string endpoint;
    }

    /// @notice Bond of an operator: what stands, what is on its way out, and from when it may leave.
    struct Bond {
        uint96 standing;
        uint96 leaving;
        uint64 leavesAt;
    }

    /// @notice An account that must be named is the zero address.
    error ZeroAddress();
    /// @notice An amount is zero.
    error ZeroAmount();
    /// @notice The key is, or was, listed: a key is listed once, ever.
    error KeyTaken(address key);
    /// @notice The key was never listed.
    error UnknownKey(address key);
    /// @notice The entry belongs to another operator.
    error NotOperator(address caller);
    /// @notice Only the slasher slashes.
    error NotSlasher(address caller);
    /// @notice The key has not signed that it belongs to this operator.
    error InvalidSignature();
    /// @notice Endpoints have at most 256 bytes.
    error EndpointTooLong(uint256 length);
    /// @notice The key was retired; its entry changes no more.
    error Retired(address key);
    /// @notice The token kept a part of a transfer; such tokens are refused.
    error FeeOnTransfer(uint256 expected, uint256 received);
    /// @notice There is less bond than that.
    error InsufficientBond(uint256 standing, uint256 wanted);
    /// @notice What is leaving can be withdrawn from this time on, unix seconds.
    error UnbondingUntil(uint64 leavesAt);
    /// @notice What is slashed goes neither to the slasher, the operator, the registry nor nobody.
    error WrongVictim(address victim);

    /// @notice A key was listed.
    event Registered(address indexed key, address indexed operator, Kind kind);
    /// @notice An entry's TLS key, descriptor and endpoint are these now.
    event Updated(address indexed key, bytes32 tlsKeyHash, bytes32 descriptor, string endpoint);
    /// @notice A key is used no more.
    event EntryRetired(address indexed key);
    /// @notice An operator's bond grew; `from` paid.
    event Bonded(address indexed operator, address indexed from, uint96 amount);
    /// @notice A part of the bond is leaving; all that is leaving may leave at `leavesAt`, unix seconds.
    event UnbondRequested(address indexed operator, uint96 amount, uint64 leavesAt);
    /// @notice What was leaving has left.
    event BondWithdrawn(address indexed operator, address indexed to, uint96 amount);
    /// @notice The slasher took a part of a bond for `victim`; `evidence` says what for.
    event Slashed(address indexed operator, address indexed victim, uint96 amount, bytes32 evidence);

    /// @notice The ERC-20 of the bonds.
    function token() external view returns (address);
    /// @notice The network's id; the salt of the EIP-712 domain.
    function network() external view returns (bytes32);
    /// @notice Seconds between asking for bond back and getting it.
    function unbondDelay() external view returns (uint64);
    /// @notice Who may slash; the zero address: nobody.
    function slasher() external view returns (address);
    /// @notice Bond of an operator: what stands, what is leaving, and from when it may leave, unix seconds.
    function bonds(address operator) external view returns (uint96 standing, uint96 leaving, uint64 leavesAt);

    /// @notice List a key. Its owner signs KeyOfOperator(operator, key) in this contract's EIP-712 domain, unless it is the
    /// operator's own.
    function register(
        Kind kind,
        address key,
        bytes32 tlsKeyHash,
        bytes32 descriptor,
        string calldata endpoint,
        bytes calldata keySignature
    ) external;

    /// @notice Change an entry of the caller's.
    function update(address key, bytes32 tlsKeyHash, bytes32 descriptor, string calldata endpoint) external;

    /// @notice Say that a key is used no more; it can never be listed again.
    function retire(address key) external;

    /// @notice Add to an operator's bond, at the caller's cost.
    function bond(address operator, uint96 amount) external;

    /// @notice Ask for a part of the bond back. It can be slashed until it is withdrawn; a second request begins the delay
    /// anew for all that is leaving.
    function requestUnbond(uint96 amount) external;

    /// @notice Take out all that was leaving, after the delay.
    function withdrawBond(address to) external;

    /// @notice Take from an operator's bond, what is leaving first, for the victim or to burn; never for the slasher.
    function slash(address operator, address victim, uint96 amount, bytes32 evidence) external;

    /// @notice How many entries there are, retired ones included.
    function count() external view returns (uint256);

    /// @notice The entry of a key.
    function entryOf(address key) external view returns (Entry memory);

    /// @notice Entries in the order of their registration, retired ones and both kinds included.
    function page(uint256 start, uint256 limit) external view returns (Entry[] memory found);

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
}
