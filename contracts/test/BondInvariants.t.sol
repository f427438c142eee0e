// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CreditToken} from "../src/CreditToken.sol";
import {NetworkRegistry} from "../src/NetworkRegistry.sol";
import {Checks, vm} from "./support/Vm.sol";

/// @notice Does random things to bonds and keeps its own books of what must follow.
contract BondHandler is Checks {
    uint256 internal constant OPERATORS = 3;
    uint64 internal constant DELAY = 7 days;

    CreditToken public token;
    NetworkRegistry public registry;
    mapping(uint256 who => uint96) public standing;
    mapping(uint256 who => uint96) public leaving;
    mapping(uint256 who => uint64) public leavesAt;
    mapping(string action => uint256) public succeeded;
    uint256 public came;
    uint256 public went;
    uint256 public slashed;

    constructor() {
        token = new CreditToken(address(this));
        registry = new NetworkRegistry(address(token), bytes32(uint256(7)), DELAY, address(this));
        token.approve(address(registry), type(uint256).max);
    }

    function operator(uint256 who) public pure returns (address) {
        return address(uint160(0x1000 + who % OPERATORS));
    }

    function bond(uint256 who, uint96 amount) external {
        who %= OPERATORS;
        amount = uint96(bound(amount, 1, 1e12));
        token.mint(address(this), amount);
        registry.bond(operator(who), amount);
        came += amount;
        standing[who] += amount;
        ++succeeded["bond"];
    }

    function requestUnbond(uint256 who, uint96 amount) external {
        who %= OPERATORS;
        if (standing[who] == 0) return;
        amount = uint96(bound(amount, 1, standing[who]));
        vm.prank(operator(who));
        registry.requestUnbond(amount);
        standing[who] -= amount;
        leaving[who] += amount;
        leavesAt[who] = uint64(block.timestamp) + DELAY;
        ++succeeded["requestUnbond"];
    }

    function withdrawBond(uint256 who) external {
        who %= OPERATORS;
        if (leaving[who] == 0) return;
        if (block.timestamp < leavesAt[who]) {
            vm.prank(operator(who));
            (bool early,) = address(registry).call(abi.encodeCall(registry.withdrawBond, (operator(who))));
            yes(!early, "a bond leaves only after the delay");
            ++succeeded["earlyRefused"];
            vm.warp(leavesAt[who]);
        }
        vm.prank(operator(who));
        registry.withdrawBond(operator(who));
        went += leaving[who];
        (leaving[who], leavesAt[who]) = (0, 0);
        ++succeeded["withdrawBond"];
    }

    /// @notice What stands and what is leaving can be slashed to the last unit, at any time before it has left.
    function slash(uint256 who, uint96 amount, bool all) external {
        who %= OPERATORS;
        uint96 held = standing[who] + leaving[who];
        if (held == 0) return;
        amount = all ? held : uint96(bound(amount, 1, held));
        if (leaving[who] != 0) ++succeeded["slashLeaving"];
        registry.slash(operator(who), address(0x71C7), amount, "evidence");
        uint96 first = amount < leaving[who] ? amount : leaving[who];
        leaving[who] -= first;
        standing[who] -= amount - first;
        slashed += amount;
        ++succeeded["slash"];
    }

    function forbidden(uint256 who, uint256 kind) external {
        who %= OPERATORS;
        uint96 held = standing[who] + leaving[who];
        address caller = kind % 3 == 0 ? operator(who) : address(this);
        address victim = kind % 3 == 1 ? address(this) : address(0x71C7);
        vm.prank(caller);
        (bool done,) = address(registry).call(
            abi.encodeCall(registry.slash, (operator(who), victim, kind % 3 == 2 ? held + 1 : 1, "evidence"))
        );
        yes(!done, "by a stranger, for the slasher, or more than there is");
        ++succeeded["forbidden"];
    }
}

/// @notice What holds of bonds after any sequence of calls.
contract BondInvariantsTest is Checks {
    BondHandler private handler;
    string[7] private actions =
        ["bond", "requestUnbond", "withdrawBond", "earlyRefused", "slash", "slashLeaving", "forbidden"];

    function setUp() external {
        vm.warp(1_800_000_000);
        handler = new BondHandler();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_bonds() external view {
        uint256 held;
        for (uint256 who; who < 3; ++who) {
            (uint96 standing, uint96 leaving, uint64 leavesAt) = handler.registry().bonds(handler.operator(who));
            same(standing, handler.standing(who), "standing");
            same(leaving, handler.leaving(who), "leaving");
            yes(leaving == 0 || leavesAt == handler.leavesAt(who), "the delay is that of the last request");
            held += uint256(standing) + leaving;
        }
        uint256 tokens = handler.token().balanceOf(address(handler.registry()));
        same(tokens, held, "tokens = bonds");
        same(tokens, handler.came() - handler.went() - handler.slashed(), "what came less what left and was slashed");
        same(handler.token().balanceOf(address(0x71C7)), handler.slashed(), "victims have what was slashed");
        same(handler.token().balanceOf(address(handler)), 0, "the slasher has nothing");
    }

    function afterInvariant() external {
        for (uint256 i; i < actions.length; ++i) {
            string memory line = string.concat("bonds:", actions[i], " ", vm.toString(handler.succeeded(actions[i])));
            vm.writeLine("out/actions.txt", line);
        }
    }
}
