// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

import {IComputeLedger} from "../../src/interfaces/IComputeLedger.sol";

/// @notice Keeps one unit of every transfer for itself.
contract FeeToken is ERC20 {
    constructor() ERC20("fee", "FEE") {
        _mint(msg.sender, 1e30);
    }

    function _update(address from, address to, uint256 value) internal override {
        if (from != address(0) && value > 0) {
            super._update(from, address(this), 1);
            value -= 1;
        }
        super._update(from, to, value);
    }
}

/// @notice The chain's coin as a token, in the manner of WETH9: its fallback takes every call it does not know for a deposit.
contract WrappedCoin {
    uint8 public constant decimals = 18;
    mapping(address account => uint256) public balanceOf;
    mapping(address owner => mapping(address spender => uint256)) public allowance;

    error TooMuch();

    receive() external payable {
        balanceOf[msg.sender] += msg.value;
    }

    fallback() external payable {
        balanceOf[msg.sender] += msg.value;
    }

    function withdraw(uint256 amount) external {
        if (balanceOf[msg.sender] < amount) revert TooMuch();
        balanceOf[msg.sender] -= amount;
        (bool done,) = msg.sender.call{value: amount}("");
        if (!done) revert TooMuch();
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        allowance[msg.sender][spender] = amount;
        return true;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return transferFrom(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) public returns (bool) {
        if (balanceOf[from] < amount) revert TooMuch();
        if (from != msg.sender) {
            if (allowance[from][msg.sender] < amount) revert TooMuch();
            allowance[from][msg.sender] -= amount;
        }
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
        return true;
    }
}

/// @notice Calls back into the ledger in the middle of a transfer.
contract ReentrantToken is ERC20 {
    address public target;
    bytes public data;
    bool public entered;
    bytes public refusal;

    constructor() ERC20("reentrant", "RE") {
        _mint(msg.sender, 1e30);
    }

    function arm(address target_, bytes calldata data_) external {
        target = target_;
        data = data_;
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (target != address(0)) {
            (bool done, bytes memory answer) = target.call(data);
            entered = done;
            refusal = answer;
        }
    }
}

/// @notice A signer that is a contract (ERC-1271): it accepts one digest.
contract ContractSigner {
    bytes32 public accepted;

    function accept(bytes32 digest) external {
        accepted = digest;
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        return digest == accepted ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }
}

/// @notice Forwards calls, as a contract of somebody who relays.
contract Relay {
    function settle(IComputeLedger ledger, IComputeLedger.Claim calldata claim) external {
        ledger.settle(claim);
    }
}
