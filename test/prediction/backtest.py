"""The figures of a back-test, once more: from the raw events, in Python's standard library.

Nothing of chs is asked but the report, and which customers were chosen by hash to be looked at day by day.  Scores,
too, are calculated here from the events and the card below.  Prints TAP.
"""
import bisect
import csv
import datetime
import io
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import tempfile
from fractions import Fraction

CARD = [  # name, weight, aggregate, window, curve
    ("recency", 0.40, "days_since_last", 365, [(0, 100), (30, 90), (90, 50), (180, 20), (365, 0)]),
    ("orders_90", 0.15, "count", 90, [(0, 0), (1, 50), (3, 80), (6, 100)]),
    ("orders_365", 0.15, "count", 365, [(0, 0), (1, 20), (4, 60), (12, 100)]),
    ("spend_365", 0.20, "sum", 365, [(0, 0), (300, 40), (1000, 70), (5000, 100)]),
    ("growth_90", 0.10, "growth", 90, [(-1, 0), (0, 60), (1, 100)]),
]
HEALTHY, AT_RISK = 75, 60
Z = statistics.NormalDist().inv_cdf(0.975)

number = 0


def ok(holds, what, *details):
    global number
    number += 1
    print(("ok" if holds else "not ok") + " %d - %s" % (number, what))
    if not holds:
        for detail in details:
            print("# " + str(detail))


def psql(sql, stdin=None):
    run = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql], input=stdin, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit("psql: " + run.stderr)
    return run.stdout.strip()


def day(text):
    return datetime.date.fromisoformat(text[:10]).toordinal()


# ---------------------------------------------------------------- the card

def curve(points, value):
    if value <= points[0][0]:
        return float(points[0][1])
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        if value <= x1:
            return y0 + (value - x0) / (x1 - x0) * (y1 - y0)
    return float(points[-1][1])


def metric_scores(days, cents, t):
    """The scores of the metrics of the orders up to a day; days ascend."""
    def span(first, last):
        return bisect.bisect_left(days, first), bisect.bisect_right(days, last)
    result = []
    for _, _, aggregate, window, points in CARD:
        a, b = span(t - window + 1, t)
        if aggregate == "count":
            value = b - a
        elif aggregate == "sum":
            value = sum(cents[a:b]) / 100
        elif aggregate == "days_since_last":
            value = t - days[b - 1]
        else:
            c, d = span(t - 2 * window + 1, t - window)
            value = (b - a) / (d - c) - 1 if d > c else None
        result.append(None if value is None else curve(points, value))
    return result


def total(scores):
    weighed = [(w, s) for (_, w, _, _, _), s in zip(CARD, scores) if s is not None]
    return math.floor((sum(w * s for w, s in weighed) / sum(w for w, _ in weighed) + 1e-9) * 100 + 0.5) / 100


def status(score):
    return "healthy" if score >= HEALTHY else "at_risk" if score >= AT_RISK else "critical"


# ---------------------------------------------------------------- the rows

def risk(days, t, horizon, gap):
    """None, or (leaves, left_on) of one at risk of having no order; leaves is None for one who left within the gap."""
    seen = bisect.bisect_right(days, t)
    if seen == 0 or days[seen - 1] <= t - horizon:
        return None
    before = bisect.bisect_right(days, t + gap)
    silent = bisect.bisect_right(days, t + gap + horizon) == before
    left_on = days[before - 1] + horizon if silent else None
    if days[before - 1] <= t + gap - horizon:
        return None, left_on
    return silent, left_on


def auc(rows, value):
    """The area within origins, and its variance by customer, exactly."""
    origins = {}
    for row in rows:
        if value(row) is not None:
            origins.setdefault(row["origin"], []).append(row)
    wins, pairs, by_customer = 0, 0, {}
    for there in origins.values():
        leaving = sorted(value(r) for r in there if r["leaves"])
        staying = sorted(value(r) for r in there if not r["leaves"])
        pairs += len(leaving) * len(staying)
        for r in there:
            v = value(r)
            if r["leaves"]:
                u = 2 * (len(staying) - bisect.bisect_right(staying, v)) + bisect.bisect_right(staying, v) - bisect.bisect_left(staying, v)
                wins += u
                n = len(staying)
            else:
                u = 2 * bisect.bisect_left(leaving, v) + bisect.bisect_right(leaving, v) - bisect.bisect_left(leaving, v)
                n = len(leaving)
            if n > 0:
                by_customer.setdefault(r["customer"], {True: [], False: []})[r["leaves"]].append((u, n))
    if pairs == 0:
        return None
    area = Fraction(wins, 2 * pairs)
    shares = {c: {k: sum((Fraction(u, 2) - area * n for u, n in both[k]), Fraction(0)) / pairs for k in both} for c, both in by_customer.items()}
    nl = sum(1 for b in by_customer.values() if b[True])
    ns = sum(1 for b in by_customer.values() if b[False])
    return float(area), shares, (nl, ns, len(by_customer))


def error(shares, counts):
    nl, ns, n = counts
    if nl < 2 or ns < 2:
        return None
    v = Fraction(nl, nl - 1) * sum(s[True] ** 2 for s in shares.values()) + Fraction(ns, ns - 1) * sum(s[False] ** 2 for s in shares.values()) \
        + 2 * Fraction(n, n - 1) * sum(s[True] * s[False] for s in shares.values())
    return math.sqrt(v) if v > 0 else 0.0


def interval(value, se):
    return (max(value - Z * se, 0), min(value + Z * se, 1))


# ---------------------------------------------------------------- the figures

def figures_of(rows, origins, horizon, gap):
    f = {}
    scored = [r for r in rows if r["leaves"] is not None]
    measures = {"auc": lambda r: r["score"], "auc_since_last": lambda r: -r["since_last"], "auc_events": lambda r: r["events"], "auc_age": lambda r: r["age"]}
    found = {}
    for name, value in measures.items():
        found[name] = auc(scored, value)
        f[name] = (found[name][0],) + interval(found[name][0], error(found[name][1], found[name][2]))
    better = max(("auc_since_last", "auc_events", "auc_age"), key=lambda n: found[n][0])
    gain = found["auc"][0] - found[better][0]
    difference = {c: {k: found["auc"][1][c][k] - found[better][1][c][k] for k in (True, False)} for c in found["auc"][1]}
    se = error(difference, found["auc"][2])
    f["gain"] = (gain, gain - Z * se, gain + Z * se)

    captured = Fraction(0)
    for t in origins:
        there = [r for r in scored if r["origin"] == t]
        below = Fraction(0)
        for s in sorted({r["score"] for r in there}):
            equal = [r for r in there if r["score"] == s]
            share = min(Fraction(1), max(Fraction(0), (Fraction(len(there), 10) - below) / len(equal)))
            captured += share * sum(r["leaves"] for r in equal)
            below += len(equal)
    leaving = sum(r["leaves"] for r in scored)
    f["capture"] = (float(captured / leaving),)
    f["lift"] = (float(captured / leaving) * 10,)
    f["rows"] = (len(scored),)
    f["customers"] = (len({r["customer"] for r in rows}),)
    f["leaving"] = (len({r["customer"] for r in scored if r["leaves"]}),)
    f["in_gap"] = (sum(r["leaves"] is None for r in rows),)
    f["rate"] = (leaving / len(scored),)
    f["healthy_leavers"] = (sum(r["leaves"] and r["status"] == "healthy" for r in scored) / leaving,)

    bands = [[r for r in scored if min(int(r["score"] // 10), 9) == k] for k in range(10)]
    counted = [(len(b), sum(r["leaves"] for r in b)) for b in bands]
    wrong = 0
    for low in range(10):
        for high in range(low + 1, 10):
            (n, k), (m, j) = counted[low], counted[high]
            if n >= 20 and m >= 20:
                p, q = k / n, j / m
                wrong += q - p > 2 * math.sqrt(q * (1 - q) / m + p * (1 - p) / n)
    f["bands_out_of_order"] = (wrong,)

    test_from = origins[len(origins) - max(1, len(origins) // 4)]
    train = [r for r in scored if r["origin"] + gap + horizon <= test_from]
    test = [r for r in scored if r["origin"] >= test_from]
    f["calibration_error"], f["brier_skill"] = calibration(train, test)

    by_origin = {}
    first = None
    for t in origins:
        there = [r for r in scored if r["origin"] == t]
        shares = [(sum(min(int(r["score"] // 10), 9) == k for r in there) + 0.5) / (len(there) + 5) for k in range(10)]
        first = first or shares
        area = auc(there, lambda r: r["score"])
        by_origin[t] = dict(rows=len(there), leaving=sum(r["leaves"] for r in there), auc=area and area[0],
                            psi=sum((p - q) * math.log(p / q) for p, q in zip(shares, first)))
    f["auc_by_origin"] = (None, min(o["auc"] for o in by_origin.values()), max(o["auc"] for o in by_origin.values()))
    f["psi"] = (by_origin[origins[-1]]["psi"],)
    return f, counted, by_origin, better


def calibration(train, test):
    if not train or not test:
        return (None,), (None,)
    a = b = 0.0
    for _ in range(100):
        g0 = g1 = h00 = h01 = h11 = 0.0
        for r in train:
            x = (r["score"] - 50) / 50
            p = 1 / (1 + math.exp(-a - b * x))
            g0 += r["leaves"] - p
            g1 += x * (r["leaves"] - p)
            h00 += p * (1 - p)
            h01 += x * p * (1 - p)
            h11 += x * x * p * (1 - p)
        d = h00 * h11 - h01 * h01
        da, db = (h11 * g0 - h01 * g1) / d, (h00 * g1 - h01 * g0) / d
        a, b = a + da, b + db
        if abs(da) + abs(db) < 1e-13:
            break
    bins, brier = {}, 0.0
    for r in test:
        p = 1 / (1 + math.exp(-a - b * (r["score"] - 50) / 50))
        there = bins.setdefault(min(int(p * 10), 9), [0.0, 0])
        there[0] += p
        there[1] += r["leaves"]
        brier += (p - r["leaves"]) ** 2
    rate = sum(r["leaves"] for r in test) / len(test)
    return (sum(abs(p - k) for p, k in bins.values()) / len(test),), (1 - brier / len(test) / (rate * (1 - rate)),)


def alarms(events, horizon, gap, first, last, leaving, sample):
    """Lead times of those who left, and alarms of the sample, day by day."""
    lead = {"": [], "_at_risk": []}
    starts = {"": 0, "_at_risk": 0}
    false = {"": 0, "_at_risk": 0}
    days_counted = changes = 0
    levels = {"": ("critical",), "_at_risk": ("critical", "at_risk")}
    for c in sorted(set(leaving) | set(sample)):
        days, cents = events[c]
        path = {}
        for t in range(first, last + 1):
            at = risk(days, t, horizon, gap)
            if at is not None:
                path[t] = (status(total(metric_scores(days, cents, t))),) + at
        if c in leaving:
            for left_on in sorted({p[2] for p in path.values() if p[2] is not None and first + 30 < p[2] <= last}):
                if left_on - 1 in path:
                    for level, red in levels.items():
                        t = left_on - 1
                        while t in path and path[t][0] in red:
                            t -= 1
                        lead[level].append(left_on - 1 - t if t < left_on - 1 else 0)
                        if t < left_on - 1:
                            lead[level][-1] = left_on - (t + 1)
        if c in sample:
            for t, (now, leaves, _) in path.items():
                if t - 1 in path and leaves is not None and t + gap + horizon <= last:
                    days_counted += 1
                    before = path[t - 1][0]
                    changes += before != now
                    for level, red in levels.items():
                        if now in red and before not in red:
                            starts[level] += 1
                            false[level] += not leaves
    years = days_counted / 365.25
    f = {}
    for level in levels:
        q = [percentile(lead[level], p) for p in (0.5, 0.25, 0.75)]
        f["lead_time" + level] = tuple(q)
        f["warned_30_days" + level] = (sum(d >= 30 for d in lead[level]) / len(lead[level]),)
        f["false_alarms" + level] = (false[level] / years,)
        f["precision" + level] = ((starts[level] - false[level]) / starts[level] if starts[level] else None,)
    f["status_changes"] = (changes / years,)
    return f


def percentile(values, p):
    values = sorted(values)
    at = p * (len(values) - 1)
    low = math.floor(at)
    return values[low] + (at - low) * (values[min(low + 1, len(values) - 1)] - values[low])


# ---------------------------------------------------------------- data

def load(orders):
    """Loads (customer, time, cents), and publishes the card."""
    psql("DROP EXTENSION IF EXISTS chs CASCADE; CREATE EXTENSION chs; INSERT INTO chs.event_types (event_type) VALUES ('purchase');"
         " DELETE FROM chs.metrics; DELETE FROM chs.factors; UPDATE chs.scorecards SET healthy_from = %d, at_risk_from = %d" % (HEALTHY, AT_RISK))
    for name, weight, aggregate, window, points in CARD:
        metric = {"metric": name, "event_type": "purchase", "aggregate": aggregate, "window_days": window,
                  "curve": " ".join("%s:%s" % p for p in points)}
        if aggregate == "sum":
            metric["field"] = "amount"
        elif aggregate == "growth":
            metric["measure"] = "count"
        if aggregate != "growth":
            metric["missing"] = "zero"
        psql("SELECT chs_add_factor('%s', %s, scale => false, metrics => '%s')" % (name, weight, json.dumps([metric])))
    psql("SELECT chs_publish('hand-made')")
    copy = io.StringIO()
    for customer, at, cents in orders:
        copy.write("%d\t%s\t%d\n" % (customer, at, cents))
    psql("CREATE TABLE IF NOT EXISTS orders (customer bigint, at timestamptz, cents bigint); TRUNCATE orders")
    psql("COPY orders FROM STDIN", copy.getvalue())
    psql("INSERT INTO chs.customers (customer_id, name, created_at) SELECT customer, 'c-' || customer, min(at) FROM orders GROUP BY customer;"
         " INSERT INTO chs.customer_events (customer_id, event_type, event_data, occurred_at)"
         " SELECT customer, 'purchase', jsonb_build_object('amount', cents / 100.0), at FROM orders; CALL chs_recalculate_all(); ANALYZE")
    events = {}
    for customer, at, cents in sorted(orders, key=lambda o: o[1]):
        days, amounts = events.setdefault(customer, ([], []))
        days.append(day(at))
        amounts.append(cents)
    return events


def generated():
    """A shop of 350 customers and two years: each buys at a pace of its own, which fades for some."""
    seed = 12345

    def rand(n):
        nonlocal seed
        seed = (seed * 1103515245 + 12345) % 2 ** 31
        return seed // 65536 % n
    start = datetime.date(2023, 1, 2)
    orders = []
    for customer in range(1, 351):
        at, pace, until = rand(200), 5 + rand(60), 250 + rand(700)
        while at < min(until, 700):
            moment = start + datetime.timedelta(at)
            orders.append((customer, "%s %02d:30:00+00" % (moment, rand(24)), 100 + rand(40000)))
            at += 1 + rand(2 * pace) + (rand(40) if at > until - 100 else 0)
    return orders


def retail(path):
    with open(path) as f:
        return [(int(o["customer"]), o["ordered_at"] + ":00+00", round(float(o["amount"]) * 100)) for o in csv.DictReader(f)]


def near(a, b):
    return a is None and b is None or a is not None and b is not None and abs(a - b) <= 1e-12 * max(1, abs(a), abs(b))


def compare(what, events, horizon, gap, origins, arguments, daily):
    report = int(psql("SELECT chs_backtest('no:purchase', %d, %d, %s)" % (horizon, gap, arguments)))
    shown = json.loads(psql("SELECT json_object_agg(figure, json_build_array(value, low, high)) FROM chs.backtest_figures WHERE backtest = %d" % report))
    rows = []
    for customer, (days, cents) in events.items():
        for t in origins:
            at = risk(days, t, horizon, gap)
            if at is not None:
                n = bisect.bisect_right(days, t)
                scores = metric_scores(days, cents, t)
                score = total(scores)
                rows.append(dict(origin=t, customer=customer, leaves=at[0], score=score, status=status(score), age=t - days[0], since_last=t - days[n - 1], events=n, scores=scores))
    expected, bands, by_origin, better = figures_of(rows, origins, horizon, gap)
    if daily:
        chosen = "SELECT array_to_json(chs.some_customers(%s, 500))"
        leaving = json.loads(psql(chosen % ("ARRAY[%s]::bigint[]" % ",".join(str(c) for c in sorted({r["customer"] for r in rows if r["leaves"]})))))
        sample = json.loads(psql(chosen % "chs.backtest_customers(NULL, NULL)"))
        last = int(psql("SELECT (report ->> 'known_to')::date - '0001-01-01'::date + 1 FROM chs.backtests WHERE backtest = %d" % report))
        expected.update(alarms(events, horizon, gap, max(origins[0], last - 729), last, leaving, sample))
    differ = ["%s: %s, not %s" % (name, shown[name], values) for name, values in expected.items()
              if not all(near(a, b) for a, b in zip(values, shown[name]))]
    ok(not differ, "%s: %d figures of %d rows agree to 1e-12" % (what, len(expected), len(rows)), *differ)
    shown = json.loads(psql("SELECT json_agg(json_build_array(rows, leaving) ORDER BY score_from) FROM chs.backtest_bands WHERE backtest = %d" % report))
    ok([list(b) for b in bands] == shown, what + ": the bands", bands, shown)
    shown = json.loads(psql("SELECT json_agg(json_build_array(origin - '0001-01-01'::date + 1, rows, leaving, auc, psi) ORDER BY origin) FROM chs.backtest_origins WHERE backtest = %d" % report))
    ok(len(shown) == len(by_origin) and all((s[1], s[2]) == (o["rows"], o["leaving"]) and near(s[3], o["auc"]) and near(s[4], o["psi"])
                                            for s, o in ((s, by_origin[s[0]]) for s in shown)), what + ": each origin", shown, by_origin)
    metrics = json.loads(psql("SELECT json_object_agg(metric, auc) FROM chs.backtest_metrics WHERE backtest = %d" % report))
    looked_at = set(json.loads(psql("SELECT array_to_json(chs.some_customers(chs.backtest_customers(NULL, NULL), 1000))")))
    there = [r for r in rows if r["customer"] in looked_at and r["leaves"] is not None]
    own = {name: auc(there, lambda r: r["scores"][i])[0] for i, (name, _, _, _, _) in enumerate(CARD)}
    ok(all(near(own[m], metrics[m]) for m in own), what + ": each metric by itself", own, metrics)
    text = psql("SELECT chs_backtest_report(%d)" % report)
    print("#\n" + "\n".join("# " + line for line in text.split("\n")))
    return expected, report


def spaced(last, every, n):
    return [last - every * k for k in range(n - 1, -1, -1)]


events = load(generated())
last = day("2024-09-01")
compare("a generated shop", events, 60, 0, spaced(last, 21, 12), "'%s', '%s', '21 days'" % (datetime.date.fromordinal(last - 231), datetime.date.fromordinal(last)), True)
compare("60 days after a gap of 30", events, 60, 30, spaced(last, 21, 12), "'%s', '%s', '21 days'" % (datetime.date.fromordinal(last - 231), datetime.date.fromordinal(last)), True)

# What happened after the last window changes nothing, nor does a metric without weight.
before = psql("SELECT report - '{known_from,known_to,warnings,metrics}'::text[] FROM chs.backtests ORDER BY backtest DESC LIMIT 1")
psql("UPDATE chs.scorecards SET healthy_from = healthy_from; SELECT chs_add_factor('nothing', 0, scale => false, metrics =>"
     " '[{\"metric\": \"nothing\", \"event_type\": \"purchase\", \"aggregate\": \"count\", \"window_days\": 7, \"curve\": \"0:0 1:100\", \"missing\": \"zero\"}]');"
     " SELECT chs_publish('with a metric of no weight'); CALL chs_recalculate_all()")
arguments = "'no:purchase', 60, 30, '%s', '%s', '21 days'" % (datetime.date.fromordinal(last - 231), datetime.date.fromordinal(last))
psql("SELECT chs_backtest(%s)" % arguments)
after = psql("SELECT report - '{known_from,known_to,warnings,metrics}'::text[] FROM chs.backtests ORDER BY backtest DESC LIMIT 1")
ok(before == after, "a metric without weight changes nothing")

# ---------------------------------------------------------------- known answers

def by_chs(rows):
    """rows: (origin, customer, leaves, value); returns the area and its standard error."""
    arrays = ["ARRAY[%s]::%s[]" % (",".join(values), kind) for values, kind in (
        (["'%s'" % datetime.date.fromordinal(r[0]) for r in rows], "date"), ([str(r[1]) for r in rows], "bigint"),
        (["true" if r[2] else "false" for r in rows], "boolean"), ([repr(float(r[3])) for r in rows], "float8"))]
    run = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"], input="SELECT json_build_array(a.auc, a.standard_error) FROM chs.auc(%s) a" % ", ".join(arrays),
                         capture_output=True, text=True)
    return json.loads(run.stdout)


dice = random.Random(7)
normal = statistics.NormalDist()
for d in (0.5, 1, 2):
    rows = [(730000, c, c % 2 == 0, normal.inv_cdf(dice.random()) - (d if c % 2 == 0 else 0)) for c in range(4000)]
    area, se = by_chs(rows)
    ok(abs(area - normal.cdf(d / math.sqrt(2))) < 3 * se and se < 0.02, "normal scores %s apart: AUC %.4f is Phi(d / sqrt 2) = %.4f" % (d, area, normal.cdf(d / math.sqrt(2))))
held = 0
for _ in range(100):
    rows = []
    for c in range(120):
        score, leaves = dice.random(), dice.random() < 0.3
        for t in range(3):  # much the same at each origin, so rows are no independent sample
            rows.append((730000 + t, c, leaves, round(score + dice.random() / 10, 2)))
    area, se = by_chs(rows)
    held += abs(area - 0.5) <= Z * se
ok(90 <= held <= 99, "shuffled outcomes: of 100 intervals %d contain .5" % held)

if os.environ.get("CHS_FULL") and shutil.which("Rscript") and subprocess.run(["Rscript", "-e", "library(pROC)"], capture_output=True).returncode == 0:
    rows = [(730000, c, dice.random() < 0.4, dice.randrange(30)) for c in range(500)]
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as f:
        f.writelines("%d,%r\n" % (r[2], r[3]) for r in rows)
        f.flush()
        out = subprocess.run(["Rscript", "-e", "suppressMessages(library(pROC)); d <- read.csv('%s', header = FALSE); r <- roc(d$V1, d$V2, direction = '>', quiet = TRUE);"
                              " cat(format(as.numeric(auc(r)), digits = 17), format(sqrt(var(r)), digits = 17))" % f.name], capture_output=True, text=True).stdout.split()
    area, se = by_chs(rows)
    ok(near(area, float(out[0])) and abs(se - float(out[1])) < 1e-12, "R's pROC has the same area and standard error", (area, se), out)
elif os.environ.get("CHS_FULL"):
    print("# R with pROC is not here")

path = os.environ.get("ONLINERETAIL") or os.path.join(os.environ.get("CHS_ORIGIN", "../.."), "../shared/data/onlineretail")
path = os.path.join(path, "orders.csv")
if os.access(path, os.R_OK):
    events = load(retail(path))
    last = day("2011-08-30")
    expected, report = compare("Online Retail", events, 90, 0, spaced(last, 14, 14), "'2011-03-01', '2011-08-30', '14 days'", False)
    test = [r for r in (spaced(last, 14, 2))]
    two, _ = compare("Online Retail, the last two origins", events, 90, 0, test, "'2011-08-16', '2011-08-30', '14 days'", False)
    ok(round(two["auc_since_last"][0], 4) == 0.6023 and two["rows"][0] == 3872, "days since the last order: AUC .6023 of 3,872 rows, as found before", two["auc_since_last"])
else:
    print("# Online Retail is not here (ONLINERETAIL says where it is)")
print("1..%d" % number)
