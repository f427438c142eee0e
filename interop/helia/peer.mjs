// A Helia peer on loopback that obeys lines of JSON: what a test asks on stdin, what it answers on stdout.
//
// Usage: node peer.mjs [GATEWAY_URL...]
// With gateways it fetches from these trustless gateways alone; without, by bitswap from peers it was told to connect to.
// It knows no bootstrap peers, no DHT and no mDNS.

import { createReadStream, createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { createInterface } from 'node:readline'
import { withBitswap } from '@helia/bitswap'
import { fallbackRouter } from '@helia/fallback-router'
import { withLibp2pLight } from '@helia/libp2p'
import { trustlessGatewayBlockBroker } from '@helia/trustless-gateway-client'
import { unixfs } from '@helia/unixfs'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createHeliaLight } from 'helia'
import * as dagCbor from '@ipld/dag-cbor'
import { CID } from 'multiformats/cid'

const gateways = process.argv.slice(2)

// The gateways count as providers of every block, not as a last resort after other routers, for there are none.
function gatewayRouter () {
  const router = fallbackRouter({ gateways })
  router.capabilities = () => []
  return router
}

function gatewayPeer () {
  return createHeliaLight({
    codecs: [dagCbor],
    blockBrokers: [trustlessGatewayBlockBroker({ allowInsecure: true, allowLocal: true })],
    routers: [gatewayRouter()]
  })
}

function bitswapPeer () {
  return withBitswap(withLibp2pLight(createHeliaLight({ codecs: [dagCbor] }), {
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: { identify: identify() }
  }))
}

const helia = await (gateways.length > 0 ? gatewayPeer() : bitswapPeer()).start()
const files = unixfs(helia)

const commands = {
  async connect ({ address }) {
    await helia.libp2p.dial(multiaddr(address))
    return {}
  },
  async add ({ path, profile }) {
    const cid = await files.addByteStream(createReadStream(path), { profile: profile ?? 'unixfs-v1-2025' })
    return { cid: cid.toString() }
  },
  async fetch ({ cid, path, timeout }) {
    const signal = AbortSignal.timeout(timeout)
    await pipeline(files.cat(CID.parse(cid), { signal }), createWriteStream(path))
    return {}
  },
  async list ({ cid, timeout }) {
    const names = []
    for await (const entry of files.ls(CID.parse(cid), { signal: AbortSignal.timeout(timeout) })) {
      names.push({ name: entry.name, cid: entry.cid.toString() })
    }
    return { names }
  },
  async block ({ cid, timeout }) {
    const pieces = []
    for await (const piece of helia.blockstore.get(CID.parse(cid), { signal: AbortSignal.timeout(timeout) })) {
      pieces.push(piece)
    }
    return { base64: Buffer.concat(pieces).toString('base64') }
  }
}

function say (message) {
  process.stdout.write(JSON.stringify(message) + '\n')
}

const addresses = gateways.length > 0 ? [] : helia.libp2p.getMultiaddrs().map(String)
say({ ready: true, addresses })

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...parameters } = JSON.parse(line)
  try {
    say({ ok: true, ...await commands[command](parameters) })
  } catch (error) {
    say({ ok: false, error: String(error?.stack ?? error) })
  }
}
await helia.stop()
process.exit(0)
