// SPDX-License-Identifier: Apache-2.0
// Sends a photo through the three services, from Node:
//
//   npm install @grpc/grpc-js @grpc/proto-loader
//   node send.js photo.png received.png [SNR in dB] [bandwidth ratio]
"use strict";

const { readFileSync, writeFileSync } = require("node:fs");
const { join } = require("node:path");
const grpc = require("@grpc/grpc-js");
const { loadSync } = require("@grpc/proto-loader");

const protos = join(__dirname, "..", "..", "protos");
const files = ["transmitter", "channel", "receiver"].map((role) => `genjscc/v1/${role}.proto`);
const loaded = loadSync(files, { includeDirs: [protos], keepCase: true, longs: String, enums: String });
const { TransmitterService, ChannelService, ReceiverService } =
  grpc.loadPackageDefinition(loaded).genjscc.v1;

function client(Service, role, port) {
  const address = process.env[`GENJSCC_${role}`] || `127.0.0.1:${port}`;
  // Codewords of large photos are longer than gRPC's default of 4 MB.
  const options = { "grpc.max_receive_message_length": 64 * 1024 * 1024 };
  return new Service(address, grpc.credentials.createInsecure(), options);
}

// A call as a promise; metadata and a deadline go with it.
function call(stub, method, request) {
  const metadata = new grpc.Metadata();
  if (process.env.GENJSCC_TOKEN) metadata.set("authorization", `Bearer ${process.env.GENJSCC_TOKEN}`);
  return new Promise((resolve, reject) => {
    stub[method](request, metadata, { deadline: Date.now() + 60_000 }, (error, answer) =>
      error ? reject(error) : resolve(answer));
  });
}

async function main(photo, target, snr = "0", rate = "") {
  const snr_db = Number(snr);
  const transmitter = client(TransmitterService, "TRANSMITTER", 50051);
  const channel = client(ChannelService, "CHANNEL", 50052);
  const receiver = client(ReceiverService, "RECEIVER", 50053);

  const image = { encoded: readFileSync(photo) };
  const encoded = await call(transmitter, "Encode", { image, snr_db, bandwidth_ratio: rate });
  const { received } = await call(channel, "Transmit", { codeword: encoded.codeword, snr_db, seed: 1 });
  const decoded = await call(receiver, "Decode", { received, snr_db, model: encoded.decoder });

  writeFileSync(target, decoded.image.encoded);
  console.log(`${encoded.codeword.header.num_symbols} symbols, model ${decoded.model}`);
  for (const stub of [transmitter, channel, receiver]) stub.close();
}

if (process.argv.length < 4) {
  console.error("usage: node send.js PHOTO TARGET [SNR_DB] [BANDWIDTH_RATIO]");
  process.exit(2);
}
main(...process.argv.slice(2)).catch((error) => {
  const [id] = error.metadata ? error.metadata.get("x-request-id") : [];
  console.error(`error: ${error.details || error.message}${id ? ` (request ${id})` : ""}`);
  process.exit(1);
});
