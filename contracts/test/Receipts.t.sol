// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ReceiptVerifier} from "../src/ReceiptVerifier.sol";
import {Checks, vm} from "./support/Vm.sol";

/// @notice Proofs of a channel's tree: those that Python's tree makes hold, and everything beside them does not.
/// @dev A Python test keeps the vectors equal to what its tree gives.
contract ReceiptsTest is Checks {
    struct Growth {
        uint256 newSize;
        uint256 oldSize;
        bytes32[] proof;
    }

    struct Place {
        uint256 index;
        bytes32[] proof;
        uint256 size;
    }

    string private constant GROWTH = "Growth(uint256 newSize,uint256 oldSize,bytes32[] proof)";
    string private constant PLACE = "Place(uint256 index,bytes32[] proof,uint256 size)";
    bytes32 private constant X = keccak256("anything");

    ReceiptVerifier private verifier = new ReceiptVerifier();
    string private json = vm.readFile("test/vectors/python.json");
    bytes32[] private roots = vm.parseJsonBytes32Array(json, ".roots");
    bytes32[] private leaves = vm.parseJsonBytes32Array(json, ".leaves");

    function test_the_tree_grows_as_in_python() external view {
        Growth[] memory all = abi.decode(vm.parseJsonTypeArray(json, ".growth", GROWTH), (Growth[]));
        same(all.length, roots.length * (roots.length + 1) / 2, "every pair of sizes");
        for (uint256 i; i < all.length; ++i) {
            Growth memory g = all[i];
            yes(consistent(g.oldSize, g.newSize, roots[g.oldSize], roots[g.newSize], g.proof), "grew");
            yes(!consistent(g.oldSize, g.newSize, X, roots[g.newSize], g.proof), "another past");
            yes(!consistent(g.oldSize, g.newSize, roots[g.oldSize], longer(g.proof, X)), "a step too many");
            if (g.oldSize != 0) yes(!consistent(g.oldSize, g.newSize, roots[g.oldSize], X, g.proof), "another future");
            if (g.oldSize == g.newSize || g.oldSize == 0) continue;
            yes(!consistent(g.newSize, g.oldSize, roots[g.newSize], roots[g.oldSize], g.proof), "shrank");
            yes(!consistent(g.oldSize, g.newSize, roots[g.oldSize], shorter(g.proof)), "a step too few");
            for (uint256 step; step < g.proof.length; ++step) {
                bytes32 kept = g.proof[step];
                g.proof[step] = X;
                yes(!consistent(g.oldSize, g.newSize, roots[g.oldSize], g.proof), "another step");
                g.proof[step] = kept;
            }
        }
    }

    function test_leaves_stand_where_they_stand_in_python() external view {
        Place[] memory all = abi.decode(vm.parseJsonTypeArray(json, ".places", PLACE), (Place[]));
        same(all.length, leaves.length * (leaves.length + 1) / 2, "every place of every size");
        for (uint256 i; i < all.length; ++i) {
            Place memory p = all[i];
            yes(included(leaves[p.index], p.index, p.size, p.proof, roots[p.size]), "there");
            yes(!included(X, p.index, p.size, p.proof, roots[p.size]), "another leaf");
            yes(!included(leaves[p.index], p.index, p.size, p.proof, X), "another root");
            yes(!included(leaves[p.index], p.index, p.size, longer(p.proof, X), roots[p.size]), "a step too many");
            for (uint256 other; other <= p.size; ++other) {
                if (other == p.index) continue;
                yes(!included(leaves[p.index], other, p.size, p.proof, roots[p.size]), "another place");
            }
            for (uint256 step; step < p.proof.length; ++step) {
                bytes32 kept = p.proof[step];
                p.proof[step] = X;
                yes(!included(leaves[p.index], p.index, p.size, p.proof, roots[p.size]), "another step");
                p.proof[step] = kept;
            }
        }
    }

    function test_an_inner_node_is_no_leaf() external view {
        yes(!included(roots[4], 0, 4, steps(0), roots[4]), "nor is the root");
        yes(!included(roots[2], 0, 4, path(join(leaves[2], leaves[3])), roots[4]), "a proof that ends early");
    }

    function test_a_proof_ends_at_the_root() external view {
        yes(!included(leaves[0], 0, 1, path(X), join(X, leaves[0])), "a leaf of a larger tree");
        bytes32[] memory proof = steps(4);
        (proof[0], proof[1], proof[2], proof[3]) = (leaves[2], leaves[3], roots[2], X);
        yes(!consistent(3, 4, join(X, roots[3]), join(X, roots[4]), proof), "trees inside of larger ones");
    }

    function test_growth_is_not_proved_half_way() external view {
        bytes32[] memory proof = path(join(leaves[2], leaves[3]));
        yes(consistent(2, 4, roots[2], roots[4], proof), "four leaves");
        yes(!consistent(2, 8, roots[2], roots[4], proof), "not eight");
    }

    function test_no_proof_proves_only_that_nothing_changed() external view {
        yes(!consistent(3, 4, roots[3], roots[4], steps(0)), "a growth");
        yes(consistent(0, 0, sha256(""), sha256(""), steps(0)), "nothing is nothing");
        yes(!consistent(3, 0, roots[3], sha256(""), steps(0)), "an end");
    }

    function test_a_tree_cannot_shrink_with_a_proof_made_for_it() external view {
        bytes32[] memory proof = steps(2);
        (proof[0], proof[1]) = (X, leaves[1]);
        yes(!consistent(3, 2, X, join(X, leaves[1]), proof), "what the steps alone would show");
    }

    function test_hashes_are_those_of_python() external view {
        bytes memory leaf = vm.parseJsonBytes(json, ".leaf");
        yes(verifier.leafHash(leaf) == vm.parseJsonBytes32(json, ".leafHash"), "leaf");
    }

    function consistent(uint256 oldSize, uint256 newSize, bytes32 oldRoot, bytes32[] memory proof)
        private
        view
        returns (bool)
    {
        return consistent(oldSize, newSize, oldRoot, roots[newSize], proof);
    }

    function consistent(uint256 oldSize, uint256 newSize, bytes32 oldRoot, bytes32 newRoot, bytes32[] memory proof)
        private
        view
        returns (bool)
    {
        return verifier.verifyConsistency(oldSize, newSize, oldRoot, newRoot, proof);
    }

    function included(bytes32 leaf, uint256 index, uint256 size, bytes32[] memory proof, bytes32 root)
        private
        view
        returns (bool)
    {
        return verifier.verifyInclusion(leaf, index, size, proof, root);
    }

    function join(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x01), left, right));
    }

    function steps(uint256 count) private pure returns (bytes32[] memory) {
        return new bytes32[](count);
    }

    function path(bytes32 step) private pure returns (bytes32[] memory made) {
        made = steps(1);
        made[0] = step;
    }

    function longer(bytes32[] memory proof, bytes32 last) private pure returns (bytes32[] memory made) {
        made = steps(proof.length + 1);
        for (uint256 i; i < proof.length; ++i) {
            made[i] = proof[i];
        }
        made[proof.length] = last;
    }

    function shorter(bytes32[] memory proof) private pure returns (bytes32[] memory made) {
        made = steps(proof.length - 1);
        for (uint256 i; i < made.length; ++i) {
            made[i] = proof[i];
        }
    }
}
