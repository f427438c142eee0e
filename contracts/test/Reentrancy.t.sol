// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {ComputeLedger} from "../src/ComputeLedger.sol";
import {NetworkRegistry} from "../src/NetworkRegistry.sol";
import {IComputeLedger} from "../src/interfaces/IComputeLedger.sol";
import {ReentrantToken} from "./support/Tokens.sol";
import {EnteringSigner} from "./support/Wallets.sol";
import {vm} from "./support/Vm.sol";
import {World} from "./support/World.sol";

/// @notice Attacks by coming in again: through a token that calls back, and through a contract that is asked whether it
/// has signed; each tries every door.
contract ReentrancyTest is World {
    function test_a_token_cannot_enter_by_any_door() external {
        ReentrantToken evil = new ReentrantToken();
        ComputeLedger other = new ComputeLedger(address(evil), NETWORK, guardian, WINDOW);
        evil.approve(address(other), type(uint256).max);
        other.deposit(address(evil), 500);
        other.deposit(address(this), 500);
        bytes[] memory calls = doors(other);
        for (uint256 i; i < calls.length; ++i) {
            evil.arm(address(other), calls[i]);
            other.withdraw(address(this), 10);
            stopped(evil);
            other.deposit(address(this), 10);
            stopped(evil);
        }
        same(other.balanceOf(address(evil)), 500, "nothing of its own moved");
        same(other.balanceOf(address(this)), 500, "nor of others");
    }

    function test_a_token_cannot_enter_the_registrys_bonds() external {
        ReentrantToken evil = new ReentrantToken();
        NetworkRegistry registry = new NetworkRegistry(address(evil), NETWORK, 1 days, address(this));
        evil.approve(address(registry), type(uint256).max);
        registry.bond(address(this), 100);
        registry.bond(address(evil), 100);
        bytes[3] memory calls = [
            abi.encodeCall(registry.bond, (address(evil), 1)), abi.encodeCall(registry.withdrawBond, (address(evil))),
            abi.encodeCall(registry.slash, (address(this), address(evil), 1, ROOT))
        ];
        uint256 time = 1_800_000_000; // the optimizer reads the block's time once for all
        for (uint256 i; i < calls.length; ++i) {
            evil.arm(address(registry), calls[i]);
            registry.bond(address(this), 10);
            stopped(evil);
            registry.requestUnbond(10);
            time += 1 days;
            vm.warp(time);
            registry.withdrawBond(address(this));
            stopped(evil);
            registry.slash(address(this), address(7), 1, ROOT);
            stopped(evil);
        }
        same(evil.balanceOf(address(registry)), 197, "all but what was slashed");
    }

    function test_a_signer_cannot_enter_by_any_door_while_it_is_asked() external {
        EnteringSigner asked = new EnteringSigner();
        token.mint(address(this), 50);
        token.approve(address(ledger), 50);
        ledger.deposit(address(asked), 50);
        vm.prank(payer);
        ledger.open(provider, address(asked), SALT, 500);
        bytes[] memory calls = doors(ledger);
        for (uint256 i; i < calls.length; ++i) {
            asked.arm(address(ledger), calls[i]);
            // It answers no where its call got through, so a settled voucher says that it did not.
            ledger.settle(
                IComputeLedger.Claim(payer, provider, address(asked), SALT, uint96(i + 1), 7, ROOT, "anything")
            );
        }
        same(ledger.balanceOf(address(asked)), 50, "nothing moved");
        same(ledger.balanceOf(provider), 1_000_000 + calls.length, "paid once a voucher");
    }

    function test_a_provider_cannot_enter_while_its_terms_are_checked() external {
        EnteringSigner both = new EnteringSigner();
        token.mint(address(this), 1000);
        token.approve(address(ledger), 1000);
        ledger.deposit(address(both), 1000);
        IComputeLedger.Terms memory t = terms();
        t.provider = address(both);
        both.arm(address(ledger), abi.encodeCall(ledger.withdraw, (address(both), 1000)));
        vm.prank(payer);
        ledger.openJob(t, "");
        same(ledger.balanceOf(address(both)), 700, "only its bond");
    }

    function test_a_payer_cannot_enter_while_its_acceptance_is_checked() external {
        EnteringSigner wallet = new EnteringSigner();
        token.mint(address(this), 2000);
        token.approve(address(ledger), 2000);
        ledger.deposit(address(wallet), 2000);
        IComputeLedger.Terms memory t = terms();
        t.payer = address(wallet);
        bytes memory signature = signTerms(t);
        vm.prank(address(wallet));
        ledger.openJob(t, signature);
        wallet.arm(address(ledger), abi.encodeCall(ledger.acceptResult, (t, ROOT, "")));
        vm.prank(provider);
        ledger.acceptResult(t, ROOT, "anything");
        same(ledger.balanceOf(provider), 1_001_001, "paid once");
    }

    /// @dev Every function that changes something, the guardian's two apart: they touch no money and call nobody.
    function doors(ComputeLedger to) private view returns (bytes[] memory calls) {
        IComputeLedger.Terms memory t = terms();
        IComputeLedger.Claim memory claim = IComputeLedger.Claim(payer, provider, signer, SALT, 1, 1, ROOT, "");
        IComputeLedger.Claim[] memory claims = new IComputeLedger.Claim[](1);
        claims[0] = claim;
        calls = new bytes[](19);
        calls[0] = abi.encodeCall(to.deposit, (payer, 100));
        calls[1] = abi.encodeCall(to.depositWithPermit, (payer, 100, 0, 0, 0, 0));
        calls[2] = abi.encodeCall(to.depositWithAuthorization, (payer, 100, 0, 0, 0, 0, 0, 0));
        calls[3] = abi.encodeCall(to.withdraw, (payer, 100));
        calls[4] = abi.encodeCall(to.open, (provider, signer, SALT, 100));
        calls[5] = abi.encodeCall(to.topUp, (provider, signer, SALT, 100));
        calls[6] = abi.encodeCall(to.settle, (claim));
        calls[7] = abi.encodeCall(to.settleMany, (claims));
        calls[8] = abi.encodeCall(to.startClose, (provider, signer, SALT));
        calls[9] = abi.encodeCall(to.finishClose, (payer, provider, signer, SALT));
        calls[10] = abi.encodeCall(to.closeByProvider, (payer, signer, SALT));
        calls[11] = abi.encodeCall(to.openJob, (t, ""));
        calls[12] = abi.encodeCall(to.submitResult, (t, ROOT));
        calls[13] = abi.encodeCall(to.acceptResult, (t, ROOT, ""));
        calls[14] = abi.encodeCall(to.finalize, (t));
        calls[15] = abi.encodeCall(to.reclaim, (t));
        calls[16] = abi.encodeCall(to.dispute, (t));
        calls[17] = abi.encodeCall(to.resolve, (t, 0));
        calls[18] = abi.encodeCall(to.arbiterSilent, (t));
    }

    function stopped(ReentrantToken evil) private view {
        yes(!evil.entered(), "a call from inside a transfer");
        bytes4 why = bytes4(evil.refusal());
        yes(why == ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector, "stopped by the guard");
    }
}
