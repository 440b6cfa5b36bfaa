#!/usr/bin/python3
"""Every view, read by psycopg2, psycopg 3, SQLAlchemy and ODBC as BI tools do."""
import datetime, os, threading

import psycopg, psycopg2, pyodbc, sqlalchemy

HOST, PORT, DATABASE = os.environ["PGHOST"], os.environ["PGPORT"], os.environ["PGDATABASE"]
TYPES = {"bigint": int, "integer": int, "text": str, "double precision": float, "boolean": bool, "date": datetime.date,
         "timestamp with time zone": datetime.datetime, "jsonb": (dict, list, str, int, float, bool)}
PAGE = "SELECT customer_id, score, name FROM chs.customer_list WHERE customer_id > %d ORDER BY customer_id LIMIT 50"
RISK = "SELECT customer_id, score FROM chs.at_risk_customers WHERE score >= %r AND (score > %r OR customer_id > %d) ORDER BY score, customer_id LIMIT 50"
SLOW = "SELECT count(*) FROM chs.customer_list a, chs.customer_list b, chs.customer_list c, chs.customer_list d"
done = 0


def ok(good, what, why=""):
    global done
    done += 1
    print(f"{'ok' if good else 'not ok'} {done} - {what}", flush=True)
    if not good and why:
        print(f"# {why}", flush=True)


class Psycopg2:
    name, binary = "psycopg2", False

    def __init__(self):
        self.connection = psycopg2.connect(host=HOST, port=PORT, dbname=DATABASE, user="bi")
        self.connection.autocommit = True

    def query(self, sql):
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return [c[0] for c in cursor.description], cursor.fetchall()

    def stream(self, sql):
        self.connection.autocommit = False
        with self.connection.cursor("stream") as cursor:
            cursor.itersize = 20
            cursor.execute(sql)
            rows = [row for row in cursor]
        self.connection.rollback()
        self.connection.autocommit = True
        return rows

    def cancel(self):
        self.connection.cancel()

    def sqlstate(self, error):
        return error.pgcode


class Psycopg3(Psycopg2):
    def __init__(self, binary):
        self.name, self.binary = "psycopg 3, " + ("binary" if binary else "text"), binary
        self.connection = psycopg.connect(host=HOST, port=PORT, dbname=DATABASE, user="bi", autocommit=True)

    def query(self, sql):
        with self.connection.cursor(binary=self.binary) as cursor:
            cursor.execute(sql)
            return [c.name for c in cursor.description], cursor.fetchall()

    def stream(self, sql):
        with self.connection.transaction(), self.connection.cursor("stream", binary=self.binary) as cursor:
            cursor.itersize = 20
            cursor.execute(sql)
            return [row for row in cursor]

    def sqlstate(self, error):
        return error.sqlstate


class Odbc(Psycopg2):
    name = "ODBC"

    def __init__(self):
        self.connection = pyodbc.connect(f"Driver={{PostgreSQL Unicode}};Server={HOST};Port={PORT};Database={DATABASE};Uid=bi;"
                                         "UseDeclareFetch=1;Fetch=20;BoolsAsChar=0;MaxVarcharSize=8000", autocommit=True)
        self.running = None

    def query(self, sql):
        self.running = self.connection.cursor()
        self.running.execute(sql)
        return [c[0] for c in self.running.description], [tuple(row) for row in self.running.fetchall()]

    def stream(self, sql):
        cursor, rows = self.connection.cursor(), []
        cursor.execute(sql)
        while page := cursor.fetchmany(20):
            rows += [tuple(row) for row in page]
        return rows

    def cancel(self):
        self.running.cancel()

    def sqlstate(self, error):
        return "57014" if error.args[0] in ("HY008", "57014", "HY000") and "cancel" in str(error) else error.args[0]


class SqlAlchemy(Psycopg2):
    name = "SQLAlchemy"

    def __init__(self):
        self.engine = sqlalchemy.create_engine(f"postgresql+psycopg2://bi@/{DATABASE}?host={HOST}&port={PORT}")
        self.session = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def query(self, sql):
        result = self.session.execute(sqlalchemy.text(sql))
        return list(result.keys()), [tuple(row) for row in result.fetchall()]

    def stream(self, sql):
        with self.engine.connect() as session:
            return [tuple(row) for row in session.execution_options(stream_results=True, max_row_buffer=20).execute(sqlalchemy.text(sql))]

    def cancel(self):
        self.session.connection.dbapi_connection.cancel()

    def sqlstate(self, error):
        return error.orig.pgcode

    def reflected(self):
        """Names and types as SQLAlchemy's reflection, on which Superset rests, finds them."""
        inspector = sqlalchemy.inspect(self.engine)
        return {view: {c["name"]: (c["type"], c["comment"]) for c in inspector.get_columns(view, schema="chs")}
                for view in inspector.get_view_names(schema="chs")}


def fits(value, type, client):
    if value is None:
        return True
    if client.name == "ODBC" and type == "boolean":
        return value in (True, False)
    return isinstance(value, TYPES[type]) and not (type in ("bigint", "integer") and isinstance(value, bool))


def check(client):
    _, rows = client.query("SELECT view_name, column_name, type FROM expected")
    views = {}
    for view, column, type in rows:
        views.setdefault(view, []).append((column, type))
    ok(len(views) >= 20, f"{client.name}: the views are there", views.keys())
    for view, columns in views.items():
        names, rows = client.query(f"SELECT * FROM chs.{view}")
        wrong = [(column, type, value) for row in rows for (column, type), value in zip(columns, row) if not fits(value, type, client)]
        ok(names == [c for c, _ in columns] and not wrong, f"{client.name}: {view} has its columns and types", (names, wrong[:3]))
        if view not in ("worker_status", "status_changes"):
            ok(sorted(map(str, client.stream(f"SELECT * FROM chs.{view}"))) == sorted(map(str, rows)), f"{client.name}: {view} row by row")
    _, rows = client.query("SELECT count(*), count(name), count(*) - count(name) FROM chs.customer_list")
    total, named, unnamed = rows[0]
    _, rows = client.query("SELECT name FROM chs.customer_list")
    ok(sum(r[0] is None for r in rows) == unnamed > 0, f"{client.name}: NULL is NULL")
    ok(any(r[0] and "Zo\u00eb & S\u00f8ren" in r[0] for r in rows), f"{client.name}: letters are letters")

    last, seen = 0, []
    while page := client.query(PAGE % last)[1]:
        seen += [row[0] for row in page]
        last = seen[-1]
    ok(seen == sorted(set(seen)) and len(seen) == total, f"{client.name}: pages by customer_id have everyone once", len(seen))
    score, last, seen = -1.0, 0, []
    while page := client.query(RISK % (score, score, last))[1]:
        seen += [(row[1], row[0]) for row in page]
        score, last = seen[-1]
    _, rows = client.query("SELECT count(*) FROM chs.at_risk_customers")
    ok(seen == sorted(set(seen)) and len(seen) == rows[0][0] > 50, f"{client.name}: and by lowest score", len(seen))

    # again and again, in case the query has not begun
    ended = threading.Event()

    def cancel():
        while not ended.wait(0.2):
            client.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    try:
        client.query(SLOW)
        ok(False, f"{client.name}: a query is cancelled")
    except Exception as error:
        ok(client.sqlstate(error) == "57014", f"{client.name}: a query is cancelled", repr(error))
    ended.set()
    canceller.join()
    ok(client.query("SELECT total FROM chs.dashboard_stats")[1][0][0] > 0, f"{client.name}: and the next one answers")


for client in (Psycopg2(), Psycopg3(False), Psycopg3(True), SqlAlchemy(), Odbc()):
    check(client)
reflected = SqlAlchemy().reflected()
ok(set(reflected) >= {"dashboard_stats", "customer_list"}, "SQLAlchemy: views are found by reflection")
ok(all(comment for columns in reflected.values() for _, comment in columns.values()), "SQLAlchemy: with comments on their columns")
ok(not any(isinstance(type, sqlalchemy.types.NullType) for columns in reflected.values() for type, _ in columns.values()),
   "SQLAlchemy: of types that it knows")
print(f"1..{done}")
