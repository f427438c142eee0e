// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Names of models: who owns one, which manifests were published under it, and what its owner asks for
/// @notice A version is published once and never changes; it can be yanked, which warns and does not erase.
interface IModelRegistry {
    /// @notice A name: its owner, whom it was offered to, how many versions it has, and the royalty.
    struct Model {
        address owner;
        uint32 versions;
        uint16 royaltyBps;
        address successor;
        address royaltyTo;
    }

    /// @notice A version: the SHA-256 inside its manifest's CID, unix seconds of its publication, and whether it was yanked.
    struct Version {
        bytes32 manifest;
        uint64 publishedAt;
        bool yanked;
    }

    /// @notice Names are 1 to 64 bytes of a-z, 0-9, `-`, `_`, `.` and `/`, beginning with a letter or digit.
    error InvalidName(string name);
    /// @notice The name has an owner.
    error NameTaken(bytes32 id);
    /// @notice The name belongs to another account, or to nobody.
    error NotOwner(address caller);
    /// @notice The name was not offered to the caller.
    error NotSuccessor(address caller);
    /// @notice There is no such version.
    error UnknownVersion(uint32 version);
    /// @notice The next version is this one.
    error WrongVersion(uint32 expected);
    /// @notice A manifest is a digest, not zero.
    error EmptyManifest();
    /// @notice The version was yanked before.
    error AlreadyYanked(uint32 version);
    /// @notice A royalty is 20 % at most.
    error RoyaltyTooHigh(uint16 bps);
    /// @notice A royalty needs somebody to pay it to.
    error ZeroAddress();

    /// @notice A name has an owner.
    event ModelClaimed(bytes32 indexed id, string name, address indexed owner);
    /// @notice A manifest was published as the next version.
    event VersionPublished(bytes32 indexed id, uint32 indexed version, bytes32 manifest);
    /// @notice A version should not be used any more; `reason` says why.
    event VersionYanked(bytes32 indexed id, uint32 indexed version, string reason);
    /// @notice A name was offered; the zero address: the offer was withdrawn.
    event TransferOffered(bytes32 indexed id, address indexed successor);
    /// @notice A name has another owner.
    event ModelTransferred(bytes32 indexed id, address indexed from, address indexed to);
    /// @notice From now on the owner asks for this royalty.
    event RoyaltySet(bytes32 indexed id, uint16 bps, address indexed to);

    /// @notice The ledger whose channels pay royalties.
    function ledger() external view returns (address);
    /// @notice A name's state, by its id.
    function models(bytes32 id)
        external
        view
        returns (address owner, uint32 versions, uint16 royaltyBps, address successor, address royaltyTo);
    /// @notice A version of a name.
    function versionOf(bytes32 id, uint32 version)
        external
        view
        returns (bytes32 manifest, uint64 publishedAt, bool yanked);

    /// @notice Claim a free name: 1 to 64 bytes of a-z, 0-9, `-`, `_`, `.` and `/`, beginning with a letter or digit.
    function claim(string calldata name) external returns (bytes32 id);

    /// @notice Publish a manifest (the SHA-256 inside its CID) as the next version; `version` says which that is, so that
    /// two publishers with one key cannot overtake each other.
    function publish(bytes32 id, uint32 version, bytes32 manifest) external;

    /// @notice Warn of a version; what was published stays.
    function yank(bytes32 id, uint32 version, string calldata reason) external;

    /// @notice Offer a name to another account; nothing changes until it accepts. The zero address withdraws the offer.
    function offerTransfer(bytes32 id, address successor) external;

    /// @notice Take over a name that was offered to the caller.
    function acceptTransfer(bytes32 id) external;

    /// @notice Ask for a part of what tasks with this model cost, in hundredths of a percent. It is paid as every
    /// provider is: by vouchers of a channel from the publisher to `to`, whose salt is the model's id, so that anybody
    /// finds it; provider and royalty settle in one transaction.
    function setRoyalty(bytes32 id, uint16 bps, address to) external;

    /// @notice The royalty on an amount, rounded down, and whom it belongs to.
    function royaltyInfo(bytes32 id, uint256 amount) external view returns (address to, uint256 royalty);

    /// @notice What a name is known by: keccak256 of it.
    function idOf(string calldata name) external pure returns (bytes32);

    /// @notice How many names were claimed.
    function count() external view returns (uint256);

    /// @notice Names in the order in which they were claimed.
    function page(uint256 start, uint256 limit) external view returns (string[] memory names);
}
