// Node's own fetch: POSTs each body twice under one key and tells what came.
const url = process.argv[2];
const told = [];
const bodies = [JSON.stringify({ amount: 1000, note: "café ☕" }), Uint8Array.from({ length: 204800 }, (_, n) => n % 256)];
for (const [n, body] of bodies.entries()) {
  for (let time = 0; time < 2; time++) {
    const answer = await fetch(url, { method: "POST", body, headers: { "Idempotency-Key": `"fetch-${n}"` } });
    told.push({
      status: answer.status,
      replayed: answer.headers.get("idempotent-replayed"),
      body: await answer.text(),
    });
  }
}
console.log(JSON.stringify(told));
