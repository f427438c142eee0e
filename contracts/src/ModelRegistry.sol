// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IModelRegistry} from "./interfaces/IModelRegistry.sol";

/// @title Names of models: who owns one, which manifests were published under it, and what its owner asks for
/// @dev A version is published once and never changes; it can be yanked, which warns and does not erase.
contract ModelRegistry is IModelRegistry {
    uint16 public constant MAX_ROYALTY_BPS = 2000;
    uint256 public constant MAX_NAME_BYTES = 64;

    address public immutable ledger;
    mapping(bytes32 id => Model) public models;
    mapping(bytes32 id => mapping(uint32 version => Version)) public versionOf;
    string[] private _names;

    constructor(address ledger_) {
        ledger = ledger_;
    }

    modifier onlyOwner(bytes32 id) {
        if (models[id].owner != msg.sender) revert NotOwner(msg.sender);
        _;
    }

    /// @inheritdoc IModelRegistry
    function claim(string calldata name) external returns (bytes32 id) {
        if (!_valid(bytes(name))) revert InvalidName(name);
        id = idOf(name);
        if (models[id].owner != address(0)) revert NameTaken(id);
        models[id].owner = msg.sender;
        _names.push(name);
        emit ModelClaimed(id, name, msg.sender);
    }

    /// @inheritdoc IModelRegistry
    function publish(bytes32 id, uint32 version, bytes32 manifest) external onlyOwner(id) {
        uint32 next = models[id].versions + 1;
        if (version != next) revert WrongVersion(next);
        if (manifest == bytes32(0)) revert EmptyManifest();
        models[id].versions = next;
        versionOf[id][next] = Version(manifest, uint64(block.timestamp), false);
        emit VersionPublished(id, next, manifest);
    }

    /// @inheritdoc IModelRegistry
    function yank(bytes32 id, uint32 version, string calldata reason) external onlyOwner(id) {
        Version storage known = versionOf[id][version];
        if (known.manifest == bytes32(0)) revert UnknownVersion(version);
        if (known.yanked) revert AlreadyYanked(version);
        known.yanked = true;
        emit VersionYanked(id, version, reason);
    }

    /// @inheritdoc IModelRegistry
    function offerTransfer(bytes32 id, address successor) external onlyOwner(id) {
        models[id].successor = successor;
        emit TransferOffered(id, successor);
    }

    /// @inheritdoc IModelRegistry
    function acceptTransfer(bytes32 id) external {
        Model storage model = models[id];
        if (model.successor != msg.sender || msg.sender == address(0)) revert NotSuccessor(msg.sender);
        address from = model.owner;
        model.owner = msg.sender;
        model.successor = address(0);
        emit ModelTransferred(id, from, msg.sender);
    }

    /// @inheritdoc IModelRegistry
    function setRoyalty(bytes32 id, uint16 bps, address to) external onlyOwner(id) {
        if (bps > MAX_ROYALTY_BPS) revert RoyaltyTooHigh(bps);
        if (bps != 0 && to == address(0)) revert ZeroAddress();
        models[id].royaltyBps = bps;
        models[id].royaltyTo = to;
        emit RoyaltySet(id, bps, to);
    }

    /// @inheritdoc IModelRegistry
    function royaltyInfo(bytes32 id, uint256 amount) external view returns (address to, uint256 royalty) {
        Model storage model = models[id];
        return (model.royaltyTo, Math.mulDiv(amount, model.royaltyBps, 10_000));
    }

    /// @inheritdoc IModelRegistry
    function idOf(string calldata name) public pure returns (bytes32) {
        return keccak256(bytes(name));
    }

    /// @inheritdoc IModelRegistry
    function count() external view returns (uint256) {
        return _names.length;
    }

    /// @inheritdoc IModelRegistry
    function page(uint256 start, uint256 limit) external view returns (string[] memory names) {
        uint256 known = _names.length;
        if (start > known) start = known;
        if (limit > known - start) limit = known - start;
        names = new string[](limit);
        for (uint256 i; i < limit; ++i) {
            names[i] = _names[start + i];
        }
    }

    function _valid(bytes calldata name) private pure returns (bool) {
        if (name.length == 0 || name.length > MAX_NAME_BYTES) return false;
        for (uint256 i; i < name.length; ++i) {
            bytes1 c = name[i];
            bool plain = (c >= "a" && c <= "z") || (c >= "0" && c <= "9");
            if (!plain && (i == 0 || (c != "-" && c != "_" && c != "." && c != "/"))) return false;
        }
        return true;
    }
}
