"""Deployment: put the contracts on a chain, write down where they are, and check that they are what they should be."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from farlane.errors import Conflict, InvalidInput
from farlane.ledger import abi
from farlane.ledger.accounts import NO_ADDRESS, Address, PrivateKey, address_from_bytes, parse_address
from farlane.ledger.artifacts import load
from farlane.ledger.outbox.intents import GasPolicy
from farlane.ledger.rpc import RpcClient, unhexed
from farlane.ledger.sending import Sender
from farlane.ledger.transactions import contract_address
from farlane.ledger.typed_data import Domain, network_salt

FORMAT = "farlane-network-1"
DAY_S = 86400
CREDIT_DECIMALS = 9
_ADDRESSES = ("token", "ledger", "network_registry", "model_registry", "receipt_verifier")


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where a network keeps its books: the file that somebody needs to join, besides a key and an endpoint.

    first_block: no event of these contracts is older.
    """

    network: str
    chain_id: int
    token: Address
    ledger: Address
    network_registry: Address
    model_registry: Address
    receipt_verifier: Address
    units_per_credit: int
    first_block: int

    @property
    def domain(self) -> Domain:
        """Where the network's signatures count."""
        return Domain(self.chain_id, self.ledger, self.network)


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """What a new deployment is made of.

    token: an ERC-20 that is there already; None deploys farlane's own credits, whose minter is the deployer.
    slasher: who may slash bonds, None for nobody. Times in seconds.
    """

    network: str
    guardian: Address
    token: Address | None = None
    units_per_credit: int = 10**CREDIT_DECIMALS
    close_window_s: int = DAY_S
    unbond_delay_s: int = 7 * DAY_S
    slasher: Address | None = None


async def deploy(
    rpc: RpcClient, key: PrivateKey, plan: DeploymentPlan, policy: GasPolicy | None = None
) -> Deployment:
    """Deploy the contracts from one account, with at most the gas price that the policy allows.

    Deployments that were interrupted are not continued: what they left costs nothing but its gas.
    """
    chain_id = await rpc.quantity("eth_chainId")
    first_block = await rpc.quantity("eth_blockNumber")
    sender, salt = Sender(rpc, chain_id, policy=policy), network_salt(plan.network)

    async def create(contract: str, *arguments: Any) -> Address:
        nonce = await rpc.quantity("eth_getTransactionCount", key.address, "pending")
        await sender.send(key, None, abi.encode_constructor(contract, arguments))
        return address_from_bytes(contract_address(key.address, nonce))

    token = plan.token or await create("CreditToken", key.address)
    ledger = await create("ComputeLedger", token, salt, plan.guardian, plan.close_window_s)
    nodes = await create("NetworkRegistry", token, salt, plan.unbond_delay_s, plan.slasher or NO_ADDRESS)
    models = await create("ModelRegistry", ledger)
    verifier = await create("ReceiptVerifier")
    return Deployment(
        plan.network, chain_id, token, ledger, nodes, models, verifier, plan.units_per_credit, first_block
    )


async def verify_deployment(rpc: RpcClient, deployment: Deployment) -> None:
    """Check that the chain is the right one and that our contracts stand where the file says.

    Raises:
        Conflict: another chain, another contract, another network; nothing should be signed for it.
    """
    chain_id = await rpc.quantity("eth_chainId")
    if chain_id != deployment.chain_id:
        raise Conflict(
            f"the endpoint is chain {chain_id}; network {deployment.network} is on chain {deployment.chain_id}: "
            "name an endpoint of that chain"
        )
    for contract, address in (
        ("ComputeLedger", deployment.ledger),
        ("NetworkRegistry", deployment.network_registry),
        ("ModelRegistry", deployment.model_registry),
        ("ReceiptVerifier", deployment.receipt_verifier),
    ):
        code = unhexed(await rpc.call("eth_getCode", address, "latest"))
        if not same_code(contract, code):
            raise Conflict(
                f"what stands at {address} is not farlane's {contract}: the network file is wrong, or was forged",
                contract=contract,
                address=address,
            )
    network = await rpc.read("ComputeLedger", deployment.ledger, "network")
    token = await rpc.read("ComputeLedger", deployment.ledger, "token")
    if network != network_salt(deployment.network) or token != deployment.token:
        raise Conflict(
            f"the contract {deployment.ledger} belongs to network 0x{network.hex()} and token {token}; the file says "
            f"{deployment.network} and {deployment.token}"
        )


def same_code(contract: str, code: bytes) -> bool:
    """Tell whether code on a chain is a contract of ours, whatever its immutable values are."""
    artifact = load(contract)
    ours = bytearray.fromhex(artifact["deployedBytecode"][2:])
    theirs = bytearray(code)
    if len(ours) != len(theirs):
        return False
    for start, length in artifact["immutableReferences"]:
        theirs[start : start + length] = ours[start : start + length]
    return ours == theirs


def deployment_to_json(deployment: Deployment) -> bytes:
    """Return the network file."""
    return json.dumps({"format": FORMAT, **asdict(deployment)}, indent=2).encode() + b"\n"


def deployment_from_json(raw: bytes) -> Deployment:
    """Read a network file.

    Raises:
        InvalidInput: it is not one.
    """
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise InvalidInput(f"this is not a network file: {error}") from error
    names = {field.name for field in fields(Deployment)}
    if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
        raise InvalidInput(f"this is not a network file; expected JSON with format {FORMAT!r}")
    if set(found) != names:
        wrong = ", ".join(sorted(names ^ set(found)))
        raise InvalidInput(f"the network file has fields too many or too few: {wrong}")
    for name in _ADDRESSES:
        found[name] = parse_address(str(found[name]))
    numbers = [found[name] for name in ("chain_id", "units_per_credit", "first_block")]
    if any(type(number) is not int or number < 0 for number in numbers) or not found["units_per_credit"]:
        raise InvalidInput(
            "the network file's chain_id, units_per_credit and first_block must be whole numbers"
        )
    network_salt(found["network"])
    return Deployment(**found)
