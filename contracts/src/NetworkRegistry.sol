// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {INetworkRegistry} from "./interfaces/INetworkRegistry.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {TypedData} from "./libraries/TypedData.sol";

/// @title Nodes and hubs of a network, found on chain
/// @dev An entry is one key of one operator. The key signs that it belongs to the operator, so that nobody lists another's.
contract NetworkRegistry is INetworkRegistry, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    uint256 public constant MAX_ENDPOINT_BYTES = 256;
    bytes32 public constant KEY_TYPE = keccak256("KeyOfOperator(address operator,address key)");
    address public constant BURN = 0x000000000000000000000000000000000000dEaD;

    address public immutable token;
    bytes32 public immutable network;
    uint64 public immutable unbondDelay;
    address public immutable slasher;

    mapping(address key => uint256 place) private _places;
    Entry[] private _entries;
    mapping(address operator => Bond) public bonds;

    constructor(address token_, bytes32 network_, uint64 unbondDelay_, address slasher_) {
        if (token_ == address(0)) revert ZeroAddress();
        token = token_;
        network = network_;
        unbondDelay = unbondDelay_;
        slasher = slasher_;
    }

    /// @inheritdoc INetworkRegistry
    function register(
        Kind kind,
        address key,
        bytes32 tlsKeyHash,
        bytes32 descriptor,
        string calldata endpoint,
        bytes calldata keySignature
    ) external {
        if (key == address(0)) revert ZeroAddress();
        if (_places[key] != 0) revert KeyTaken(key);
        bytes32 body = keccak256(abi.encode(KEY_TYPE, msg.sender, key));
        bytes32 digest = TypedData.digest(TypedData.separator(network), body);
        if (key != msg.sender && !Signatures.isValid(key, digest, keySignature)) revert InvalidSignature();
        _checkEndpoint(endpoint);
        _entries.push(
            Entry(kind, false, uint64(block.timestamp), msg.sender, key, tlsKeyHash, descriptor, endpoint)
        );
        _places[key] = _entries.length;
        emit Registered(key, msg.sender, kind);
        emit Updated(key, tlsKeyHash, descriptor, endpoint);
    }

    /// @inheritdoc INetworkRegistry
    function update(address key, bytes32 tlsKeyHash, bytes32 descriptor, string calldata endpoint) external {
        Entry storage known = _owned(key);
        if (known.retired) revert Retired(key);
        _checkEndpoint(endpoint);
        known.updatedAt = uint64(block.timestamp);
        known.tlsKeyHash = tlsKeyHash;
        known.descriptor = descriptor;
        known.endpoint = endpoint;
        emit Updated(key, tlsKeyHash, descriptor, endpoint);
    }

    /// @inheritdoc INetworkRegistry
    function retire(address key) external {
        Entry storage known = _owned(key);
        if (known.retired) revert Retired(key);
        known.retired = true;
        known.updatedAt = uint64(block.timestamp);
        emit EntryRetired(key);
    }

    /// @inheritdoc INetworkRegistry
    function bond(address operator, uint96 amount) external nonReentrant {
        if (operator == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = IERC20(token).balanceOf(address(this)) - before;
        if (received != amount) revert FeeOnTransfer(amount, received);
        bonds[operator].standing += amount;
        emit Bonded(operator, msg.sender, amount);
    }

    /// @inheritdoc INetworkRegistry
    function requestUnbond(uint96 amount) external {
        Bond storage held = bonds[msg.sender];
        if (amount == 0) revert ZeroAmount();
        if (amount > held.standing) revert InsufficientBond(held.standing, amount);
        held.standing -= amount;
        held.leaving += amount;
        held.leavesAt = uint64(block.timestamp) + unbondDelay;
        emit UnbondRequested(msg.sender, amount, held.leavesAt);
    }

    /// @inheritdoc INetworkRegistry
    function withdrawBond(address to) external nonReentrant {
        Bond storage held = bonds[msg.sender];
        uint96 amount = held.leaving;
        if (to == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        if (block.timestamp < held.leavesAt) revert UnbondingUntil(held.leavesAt);
        held.leaving = 0;
        held.leavesAt = 0;
        emit BondWithdrawn(msg.sender, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    /// @inheritdoc INetworkRegistry
    function slash(address operator, address victim, uint96 amount, bytes32 evidence) external nonReentrant {
        if (msg.sender != slasher) revert NotSlasher(msg.sender);
        if (victim == slasher || victim == operator || victim == address(this) || victim == address(0)) {
            revert WrongVictim(victim);
        }
        if (amount == 0) revert ZeroAmount();
        Bond storage held = bonds[operator];
        uint256 all = uint256(held.standing) + held.leaving;
        if (amount > all) revert InsufficientBond(all, amount);
        uint96 first = amount < held.leaving ? amount : held.leaving;
        held.leaving -= first;
        held.standing -= amount - first;
        emit Slashed(operator, victim, amount, evidence);
        IERC20(token).safeTransfer(victim, amount);
    }

    /// @inheritdoc INetworkRegistry
    function count() external view returns (uint256) {
        return _entries.length;
    }

    /// @inheritdoc INetworkRegistry
    function entryOf(address key) external view returns (Entry memory) {
        return _entries[_place(key)];
    }

    /// @inheritdoc INetworkRegistry
    function page(uint256 start, uint256 limit) external view returns (Entry[] memory found) {
        uint256 known = _entries.length;
        if (start > known) start = known;
        if (limit > known - start) limit = known - start;
        found = new Entry[](limit);
        for (uint256 i; i < limit; ++i) {
            found[i] = _entries[start + i];
        }
    }

    /// @inheritdoc INetworkRegistry
    function eip712Domain()
        external
        view
        returns (bytes1, string memory, string memory, uint256, address, bytes32, uint256[] memory)
    {
        return (hex"1f", "farlane", "1", block.chainid, address(this), network, new uint256[](0));
    }

    function _place(address key) private view returns (uint256) {
        uint256 place = _places[key];
        // Places count from one; zero is what a mapping says of a key it does not know.
        // slither-disable-next-line incorrect-equality
        if (place == 0) revert UnknownKey(key);
        return place - 1;
    }

    function _owned(address key) private view returns (Entry storage known) {
        known = _entries[_place(key)];
        if (known.operator != msg.sender) revert NotOperator(msg.sender);
    }

    function _checkEndpoint(string calldata endpoint) private pure {
        if (bytes(endpoint).length > MAX_ENDPOINT_BYTES) revert EndpointTooLong(bytes(endpoint).length);
    }
}
