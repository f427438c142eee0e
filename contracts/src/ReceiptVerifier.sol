// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Receipts on chain: leaf hashes and proofs of a channel's tree, as RFC 6962 and RFC 9162 define them
/// @dev Pure. Settling never needs it; whoever wants a contract to believe a receipt does.
contract ReceiptVerifier {
    /// @notice Length of a leaf's canonical bytes.
    uint256 public constant LEAF_BYTES = 236;
    bytes32 private constant _EMPTY = sha256("");

    error WrongLength(uint256 expected, uint256 found);

    /// @notice Hash of a leaf: SHA-256 over a zero byte and its canonical bytes.
    function leafHash(bytes calldata leaf) external pure returns (bytes32) {
        if (leaf.length != LEAF_BYTES) revert WrongLength(LEAF_BYTES, leaf.length);
        return sha256(abi.encodePacked(bytes1(0x00), leaf));
    }

    /// @notice Whether a leaf stands at `index` of the tree with this size and root (RFC 9162, section 2.1.3.2).
    function verifyInclusion(bytes32 leaf, uint256 index, uint256 size, bytes32[] calldata proof, bytes32 root)
        external
        pure
        returns (bool)
    {
        if (index >= size) return false;
        uint256 node = index;
        uint256 last = size - 1;
        for (uint256 i; i < proof.length; ++i) {
            if (last == 0) return false;
            if (node & 1 == 1 || node == last) {
                leaf = _join(proof[i], leaf);
                while (node & 1 == 0 && node != 0) {
                    node >>= 1;
                    last >>= 1;
                }
            } else {
                leaf = _join(leaf, proof[i]);
            }
            node >>= 1;
            last >>= 1;
        }
        return last == 0 && leaf == root;
    }

    /// @notice Whether the new tree begins with the old one (RFC 9162, section 2.1.4.2).
    function verifyConsistency(
        uint256 oldSize,
        uint256 newSize,
        bytes32 oldRoot,
        bytes32 newRoot,
        bytes32[] calldata proof
    ) external pure returns (bool) {
        if (oldSize == newSize) return proof.length == 0 && oldRoot == newRoot;
        if (oldSize == 0) return proof.length == 0 && oldRoot == _EMPTY;
        if (oldSize > newSize || proof.length == 0) return false;
        return _consistent(oldSize - 1, newSize - 1, oldRoot, newRoot, proof);
    }

    function _consistent(uint256 node, uint256 last, bytes32 oldRoot, bytes32 newRoot, bytes32[] calldata proof)
        private
        pure
        returns (bool)
    {
        bool complete = (node + 1) & node == 0;
        while (node & 1 == 1) {
            node >>= 1;
            last >>= 1;
        }
        // A complete old tree is its own first step.
        bytes32 older = complete ? oldRoot : proof[0];
        bytes32 newer = older;
        for (uint256 i = complete ? 0 : 1; i < proof.length; ++i) {
            if (last == 0) return false;
            if (node & 1 == 1 || node == last) {
                older = _join(proof[i], older);
                newer = _join(proof[i], newer);
                while (node & 1 == 0 && node != 0) {
                    node >>= 1;
                    last >>= 1;
                }
            } else {
                newer = _join(newer, proof[i]);
            }
            node >>= 1;
            last >>= 1;
        }
        return last == 0 && older == oldRoot && newer == newRoot;
    }

    function _join(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x01), left, right));
    }
}
