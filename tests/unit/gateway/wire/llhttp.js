// Reads what Node's server reads: one connection's bytes in base64 a line; a line of JSON for each, its requests.
"use strict";
const http = require("node:http");
const readline = require("node:readline");
const { Duplex } = require("node:stream");

let found = [];
const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    found.push([request.method, request.url, request.rawHeaders, Buffer.concat(parts).toString("latin1")]);
    response.end();
  });
});
server.maxHeadersCount = 0;
// Requests that were complete before the error are still handed over.
server.on("clientError", (_, socket) => setImmediate(() => socket.destroy()));

function read(bytes) {
  return new Promise((resolve) => {
    found = [];
    const connection = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
    connection.on("close", () => resolve(found));
    connection.on("error", () => connection.destroy());
    server.emit("connection", connection);
    connection.push(bytes);
    connection.push(null);
  });
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(JSON.stringify(await read(Buffer.from(line, "base64"))) + "\n");
  }
})();
