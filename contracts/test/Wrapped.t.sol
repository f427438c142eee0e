// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ComputeLedger} from "../src/ComputeLedger.sol";
import {IComputeLedger} from "../src/interfaces/IComputeLedger.sol";
import {WrappedCoin} from "./support/Tokens.sol";
import {vm} from "./support/Vm.sol";
import {World} from "./support/World.sol";

/// @notice The chain's own coin, paid through a wrapped token that knows no permit and swallows calls it does not know.
contract WrappedTest is World {
    uint256 private constant COIN = 1e18;
    WrappedCoin private wrapped = new WrappedCoin();

    function setUp() public override {
        super.setUp();
        ledger = new ComputeLedger(address(wrapped), NETWORK, guardian, WINDOW);
        vm.deal(payer, 10 * COIN);
    }

    function test_coin_goes_all_the_way_round() external {
        wrap(3 * COIN);
        vm.prank(payer);
        wrapped.approve(address(ledger), 3 * COIN);
        vm.prank(payer);
        ledger.deposit(payer, 3 * COIN);
        openChannel(uint96(2 * COIN));
        ledger.settle(claimOf(uint96(COIN + 1)));
        vm.prank(provider);
        ledger.closeByProvider(payer, signer, SALT);
        vm.prank(provider);
        ledger.withdraw(provider, COIN + 1);
        vm.prank(payer);
        ledger.withdraw(payer, 2 * COIN - 1);
        vm.prank(provider);
        wrapped.withdraw(COIN + 1);
        vm.prank(payer);
        wrapped.withdraw(2 * COIN - 1);
        same(provider.balance, COIN + 1, "provider's coin");
        same(payer.balance, 9 * COIN - 1, "payer's coin");
        same(address(wrapped).balance + wrapped.balanceOf(address(ledger)), 0, "nothing stays");
    }

    function test_a_permit_that_is_swallowed_is_no_allowance() external {
        wrap(COIN);
        vm.prank(payer);
        (bool done,) = address(ledger).call(
            abi.encodeCall(ledger.depositWithPermit, (payer, COIN, block.timestamp, 27, ROOT, ROOT))
        );
        yes(!done, "nothing was allowed");
        same(ledger.balanceOf(payer), 0, "nothing is credited");
        same(wrapped.balanceOf(payer), COIN, "nothing has moved");
        vm.prank(payer);
        wrapped.approve(address(ledger), COIN);
        vm.prank(payer);
        ledger.depositWithPermit(payer, COIN, block.timestamp, 27, ROOT, ROOT);
        same(ledger.balanceOf(payer), COIN, "an allowance is enough");
    }

    function test_an_authorization_that_is_swallowed_brings_nothing() external {
        wrap(COIN);
        vm.expectRevert(abi.encodeWithSelector(IComputeLedger.FeeOnTransfer.selector, COIN, 0));
        ledger.depositWithAuthorization(payer, COIN, 0, block.timestamp + 1, ROOT, 27, ROOT, ROOT);
    }

    function wrap(uint256 amount) private {
        vm.prank(payer);
        (bool done,) = address(wrapped).call{value: amount}("");
        yes(done && wrapped.balanceOf(payer) == amount, "wrapped");
    }
}
