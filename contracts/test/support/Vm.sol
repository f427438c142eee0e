// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The cheat codes the tests use; forge answers them at this address.
interface Vm {
    struct SignedDelegation {
        uint8 v;
        bytes32 r;
        bytes32 s;
        uint64 nonce;
        address implementation;
    }

    struct Gas {
        uint64 gasLimit;
        uint64 gasTotalUsed;
        uint64 gasMemoryUsed;
        int64 gasRefunded;
        uint64 gasRemaining;
    }

    function addr(uint256 key) external pure returns (address);
    function assume(bool condition) external pure;
    function attachDelegation(SignedDelegation calldata delegation) external;
    function chainId(uint256 id) external;
    function deal(address account, uint256 balance) external;
    function envOr(string calldata name, string calldata fallback_) external view returns (string memory);
    function expectRevert(bytes calldata data) external;
    function expectRevert(bytes4 selector) external;
    function expectRevert() external;
    function lastCallGas() external view returns (Gas memory gas);
    function parseJsonAddress(string calldata json, string calldata key) external pure returns (address);
    function parseJsonBytes(string calldata json, string calldata key) external pure returns (bytes memory);
    function parseJsonBytes32(string calldata json, string calldata key) external pure returns (bytes32);
    function parseJsonBytes32Array(string calldata json, string calldata key)
        external
        pure
        returns (bytes32[] memory);
    function parseJsonTypeArray(string calldata json, string calldata key, string calldata type_)
        external
        pure
        returns (bytes memory);
    function parseJsonUint(string calldata json, string calldata key) external pure returns (uint256);
    function prank(address caller) external;
    function readFile(string calldata path) external view returns (string memory);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function signDelegation(address code, uint256 key) external returns (SignedDelegation memory delegation);
    function snapshotValue(string calldata group, string calldata name, uint256 value) external;
    function store(address target, bytes32 slot, bytes32 value) external;
    function toString(uint256 value) external pure returns (string memory);
    function warp(uint256 time) external;
    function writeLine(string calldata path, string calldata line) external;
}

Vm constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

/// @notice Checks that stop a test.
abstract contract Checks {
    error Unequal(uint256 found, uint256 expected, string what);
    error Untrue(string what);

    function same(uint256 found, uint256 expected, string memory what) internal pure {
        if (found != expected) revert Unequal(found, expected, what);
    }

    function yes(bool condition, string memory what) internal pure {
        if (!condition) revert Untrue(what);
    }

    function bound(uint256 x, uint256 low, uint256 high) internal pure returns (uint256) {
        return high == type(uint256).max && low == 0 ? x : low + x % (high - low + 1);
    }
}
