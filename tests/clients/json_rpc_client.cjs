// The client of json-rpc-2.0, which takes an answer by the id that it sent: one key in two calls, then
// the key with other parameters. Tells what it got.
const { JSONRPCClient } = require("json-rpc-2.0");

const url = process.argv[2];
const client = new JSONRPCClient(async (request) => {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(request),
  });
  if (answer.status !== 200) throw new Error(`status ${answer.status}`);
  client.receive(await answer.json());
});

(async () => {
  const call = (amount) => client.timeout(30000).request("charge", { idempotency_key: "k-1", amount });
  const results = [await call(5), await call(5)];
  const fault = await call(6).then(
    () => null,
    (error) => ({ code: error.code, data: error.data, message: error.message }),
  );
  console.log(JSON.stringify({ results, fault }));
})();
