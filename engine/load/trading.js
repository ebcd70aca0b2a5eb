// Load test of the trading engine: REST queries, WebSocket streams, and orders from submit to match.
//
//   PROFILE=demo|full  API_URL=http://...  WEBSOCKET_URL=ws://...  API_KEY=...  k6 run load/trading.js
//
// `full` is 100 -> 1000 -> 5000 users over 30 minutes, `demo` about 8 seconds with 20 users. The thresholds are the
// same: p95 < 500 ms, p99 < 1000 ms, errors < 1 %, order execution < 300 ms.
import http from "k6/http";
import ws from "k6/ws";
import { check, sleep } from "k6";
import exec from "k6/execution";
import { Rate, Trend } from "k6/metrics";

const API_URL = __ENV.API_URL || "http://127.0.0.1:8080";
const WEBSOCKET_URL = __ENV.WEBSOCKET_URL || "ws://127.0.0.1:8081";
const HEADERS = { "X-API-Key": __ENV.API_KEY || "", "Content-Type": "application/json" };
const PROFILE = __ENV.PROFILE || "demo";
const RUN = `${Date.now().toString(36)}-${Math.floor(Math.random() * 1e6).toString(36)}`;
const INSTRUMENTS = ["ACME", "GLOBEX"];
const MIDDLE_TICKS = 10000;

const orderExecution = new Trend("order_execution_ms", true);
const streamErrors = new Rate("stream_errors");
const orderErrors = new Rate("order_errors");

// How the users are spread: of ten, six ask, two stream, two trade.
const SHARES = { rest: 0.6, websocket: 0.2, orders: 0.2 };
const STAGES = {
  demo: [
    { duration: "2s", users: 20 },
    { duration: "5s", users: 20 },
    { duration: "1s", users: 0 },
  ],
  full: [
    { duration: "5m", users: 100 },
    { duration: "5m", users: 100 },
    { duration: "5m", users: 1000 },
    { duration: "5m", users: 1000 },
    { duration: "5m", users: 5000 },
    { duration: "4m", users: 5000 },
    { duration: "1m", users: 0 },
  ],
};

function scenario(name) {
  const stages = STAGES[PROFILE];
  if (stages === undefined) {
    throw new Error(`PROFILE=${PROFILE}: choose demo or full`);
  }
  return {
    executor: "ramping-vus",
    exec: name,
    startVUs: 0,
    gracefulStop: "2s",
    gracefulRampDown: "2s",
    stages: stages.map((stage) => ({
      duration: stage.duration,
      target: stage.users === 0 ? 0 : Math.max(1, Math.round(stage.users * SHARES[name])),
    })),
  };
}

export const options = {
  scenarios: { rest: scenario("rest"), websocket: scenario("websocket"), orders: scenario("orders") },
  thresholds: {
    http_req_duration: ["p(95)<500", "p(99)<1000"],
    http_req_failed: ["rate<0.01"],
    stream_errors: ["rate<0.01"],
    order_errors: ["rate<0.01"],
    order_execution_ms: ["p(95)<300"],
  },
  summaryTrendStats: ["avg", "min", "med", "max", "p(90)", "p(95)", "p(99)"],
};

function pick(values) {
  return values[Math.floor(Math.random() * values.length)];
}

function newOrder(id) {
  return {
    client_order_id: id,
    instrument: pick(INSTRUMENTS),
    side: pick(["buy", "sell"]),
    type: "limit",
    price_ticks: MIDDLE_TICKS + Math.floor(Math.random() * 9) - 4,
    quantity_lots: 1 + Math.floor(Math.random() * 10),
    time_in_force: "gtc",
  };
}

export function rest() {
  const path = pick(["/book/ACME", "/book/GLOBEX", "/positions", "/orders?limit=20"]);
  const response = http.get(`${API_URL}${path}`, { headers: HEADERS, tags: { name: path.split("?")[0] } });
  check(response, { "query answered": (answer) => answer.status === 200 });
  sleep(0.5 + Math.random());
}

export function websocket() {
  const instrument = pick(INSTRUMENTS);
  const seen = {};
  let greeted = false;
  let broken = false;
  const url = `${WEBSOCKET_URL}/ws?channels=book:${instrument},trades:${instrument},orders`;
  const response = ws.connect(url, { headers: { "X-API-Key": HEADERS["X-API-Key"] } }, (socket) => {
    socket.on("message", (text) => {
      const message = JSON.parse(text);
      if (message.type === "hello") {
        greeted = true;
        Object.assign(seen, message.last_seq);
      } else if (message.type === "snapshot") {
        seen[message.channel] = message.seq;
      } else if (message.type === "event") {
        broken = broken || message.seq !== seen[message.channel] + 1;
        seen[message.channel] = message.seq;
      }
    });
    socket.on("error", () => {
      broken = true;
    });
    socket.setTimeout(() => socket.close(), 1500 + Math.random() * 1000);
  });
  const good = check(response, { "stream opened": (answer) => answer && answer.status === 101 }) && greeted && !broken;
  streamErrors.add(!good);
}

// An order and its way through the log and the matcher: from the request until its state is no longer `sequenced`.
export function orders() {
  const id = `k6-${RUN}-${exec.vu.idInTest}-${exec.vu.iterationInInstance}`;
  const started = Date.now();
  const tags = { name: "/orders" };
  const response = http.post(`${API_URL}/orders`, JSON.stringify(newOrder(id)), { headers: HEADERS, tags: tags });
  const taken = check(response, { "order taken": (answer) => answer.status === 201 });
  let matched = false;
  while (taken && !matched && Date.now() - started < 2000) {
    const state = http.get(`${API_URL}/orders/${id}`, { headers: HEADERS, tags: { name: "/orders/{id}" } });
    matched = state.status === 200 && state.json("status") !== "sequenced";
    if (!matched) {
      sleep(0.005);
    }
  }
  orderErrors.add(!matched);
  if (matched) {
    orderExecution.add(Date.now() - started);
    if (Math.random() < 0.3) {
      http.del(`${API_URL}/orders/${id}`, null, { headers: HEADERS, tags: { name: "/orders/{id}" } });
    }
  }
  sleep(0.2 + Math.random() * 0.3);
}
