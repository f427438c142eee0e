// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title Credits of an embedded chain: an ERC-20 with ERC-2612 permits and ERC-3009 authorizations
/// @dev Nine decimals, so that its smallest unit is one nano-credit. The minter is whoever runs the chain: these credits
/// are worth what that operator's word is worth. On a chain of others, use a token of others.
contract CreditToken is ERC20Permit {
    bytes32 private constant _TRANSFER_TYPE = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant _RECEIVE_TYPE = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant _CANCEL_TYPE = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");

    address public immutable minter;
    /// @notice ERC-3009: whether an authorization was used or cancelled.
    mapping(address authorizer => mapping(bytes32 nonce => bool used)) public authorizationState;

    error NotMinter(address caller);
    error NotRecipient(address caller);
    error AuthorizationNotYetValid(uint256 validAfter);
    error AuthorizationExpired(uint256 validBefore);
    error AuthorizationUsed(bytes32 nonce);
    error WrongSigner(address signer);

    event AuthorizationUsedUp(address indexed authorizer, bytes32 indexed nonce);
    event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);

    constructor(address minter_) ERC20("farlane credit", "FLC") ERC20Permit("farlane credit") {
        minter = minter_;
    }

    function decimals() public pure override returns (uint8) {
        return 9;
    }

    function mint(address to, uint256 amount) external {
        if (msg.sender != minter) revert NotMinter(msg.sender);
        _mint(to, amount);
    }

    /// @notice ERC-3009: transfer as `from` has signed; anyone may send it.
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        bytes32 body = keccak256(abi.encode(_TRANSFER_TYPE, from, to, value, validAfter, validBefore, nonce));
        _useAuthorization(from, validAfter, validBefore, nonce, body, v, r, s);
        _transfer(from, to, value);
    }

    /// @notice ERC-3009: the same, but only the recipient may send it, so that nobody can come between.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        if (msg.sender != to) revert NotRecipient(msg.sender);
        bytes32 body = keccak256(abi.encode(_RECEIVE_TYPE, from, to, value, validAfter, validBefore, nonce));
        _useAuthorization(from, validAfter, validBefore, nonce, body, v, r, s);
        _transfer(from, to, value);
    }

    /// @notice ERC-3009: make an authorization void before it is used.
    function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external {
        if (authorizationState[authorizer][nonce]) revert AuthorizationUsed(nonce);
        _checkSigner(authorizer, keccak256(abi.encode(_CANCEL_TYPE, authorizer, nonce)), v, r, s);
        authorizationState[authorizer][nonce] = true;
        emit AuthorizationCanceled(authorizer, nonce);
    }

    function _useAuthorization(
        address from,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes32 body,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) private {
        if (block.timestamp <= validAfter) revert AuthorizationNotYetValid(validAfter);
        if (block.timestamp >= validBefore) revert AuthorizationExpired(validBefore);
        if (authorizationState[from][nonce]) revert AuthorizationUsed(nonce);
        _checkSigner(from, body, v, r, s);
        authorizationState[from][nonce] = true;
        emit AuthorizationUsedUp(from, nonce);
    }

    function _checkSigner(address expected, bytes32 body, uint8 v, bytes32 r, bytes32 s) private view {
        address signer = ECDSA.recover(_hashTypedDataV4(body), v, r, s);
        if (signer != expected) revert WrongSigner(signer);
    }
}
