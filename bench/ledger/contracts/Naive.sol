// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice What a first version of a compute ledger tends to be: an array that anybody may append to. No money moves.
contract Naive {
    struct Transaction {
        address from;
        address to;
        uint256 amount;
        uint256 timestamp;
    }

    Transaction[] public transactions;

    function record(address from, address to, uint256 amount) external {
        transactions.push(Transaction(from, to, amount, block.timestamp));
    }

    function transactionCount() external view returns (uint256) {
        return transactions.length;
    }
}
