// Every view, read by node-postgres as web dashboards do.
"use strict";
const { Client } = require("pg");

let done = 0;
function ok(good, what, why) {
	console.log(`${good ? "ok" : "not ok"} ${++done} - node-postgres: ${what}`);
	if (!good) console.log(`# ${JSON.stringify(why)}`);
}

// node-postgres hands out a bigint as a string, since a number cannot hold it, and, depending on its version, a date as either.
const fits = {
	"bigint": (v) => typeof v === "string" && /^-?\d+$/.test(v), "integer": Number.isInteger, "text": (v) => typeof v === "string",
	"double precision": (v) => typeof v === "number", "boolean": (v) => typeof v === "boolean",
	"date": (v) => v instanceof Date || /^\d{4}-\d\d-\d\d$/.test(v), "timestamp with time zone": (v) => v instanceof Date, "jsonb": () => true,
};

async function main() {
	const options = { host: process.env.PGHOST, port: process.env.PGPORT, database: process.env.PGDATABASE, user: "bi" };
	const client = new Client(options);
	await client.connect();
	const views = {};
	for (const row of (await client.query("SELECT view_name, column_name, type FROM expected")).rows)
		(views[row.view_name] ??= []).push(row);
	for (const [view, columns] of Object.entries(views)) {
		const result = await client.query(`SELECT * FROM chs.${view}`);
		const wrong = result.rows.flatMap((row) => columns.filter((c) => row[c.column_name] === undefined ||
			(row[c.column_name] !== null && !fits[c.type](row[c.column_name]))).map((c) => [c.column_name, row[c.column_name]]));
		ok(wrong.length === 0 && result.fields.map((f) => f.name).join() === columns.map((c) => c.column_name).join(),
			`${view} has its columns and types`, wrong.slice(0, 3));
	}
	const seen = [];
	for (let last = "0", page; (page = (await client.query({
		name: "page", text: "SELECT customer_id, score FROM chs.customer_list WHERE customer_id > $1 ORDER BY customer_id LIMIT 50", values: [last],
	})).rows).length > 0; last = seen.at(-1))
		seen.push(...page.map((row) => row.customer_id));
	const total = (await client.query("SELECT count(*), count(*) - count(score) AS without FROM chs.customer_list")).rows[0];
	ok(seen.length === Number(total.count) && new Set(seen).size === seen.length, "pages have everyone once", seen.length);
	ok(Number(total.without) === (await client.query("SELECT score FROM chs.customer_list")).rows.filter((r) => r.score === null).length, "NULL is null");

	const { pid } = (await client.query("SELECT pg_backend_pid() AS pid")).rows[0];
	const other = new Client(options);
	await other.connect();
	// again and again, in case the query has not begun
	const canceller = setInterval(() => other.query("SELECT pg_cancel_backend($1)", [pid]), 200);
	let error = {};
	try {
		await client.query("SELECT count(*) FROM chs.customer_list a, chs.customer_list b, chs.customer_list c, chs.customer_list d");
	} catch (e) {
		error = e;
	}
	clearInterval(canceller);
	await other.query("SELECT");
	ok(error.code === "57014", "a query is cancelled", error);
	ok(Number((await client.query("SELECT total FROM chs.dashboard_stats")).rows[0].total) > 0, "and the next one answers");
	await client.end();
	await other.end();
	console.log(`1..${done}`);
}
main();
