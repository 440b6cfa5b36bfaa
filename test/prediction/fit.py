#!/usr/bin/env python3
"""The fit against another one that shares nothing with it, and what must hold for any, as TAP.

Connects as the PG* environment variables say, through psql, to a database with chs.  The oracle minimizes by
accelerated projected gradients in Python's standard library; with CHS_FULL=1, and where R has glmnet, by that, too.
"""
import json, math, os, random, shutil, struct, subprocess, tempfile

number, failed = 0, 0


def ok(good, name, *more):
    global number, failed
    number, failed = number + 1, failed + (not good)
    print(f"{'' if good else 'not '}ok {number} - {name}", *([] if good else [f'\n#   {m}' for m in more]), flush=True)


def sql(text):
    result = subprocess.run(['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1'], input=text, capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else 'ERROR ' + result.stderr.strip()


def array(numbers):
    return "'{" + ','.join('NULL' if x is None else repr(float(x)) for x in numbers) + "}'::float8[]"


class Problem:
    """Rows are (customer_id, left, today, scores, events); today's card has the shares start."""

    def __init__(self, rows, factors, ramps, penalties, start):
        self.rows, self.factors, self.ramps, self.penalties = rows, factors, ramps, penalties
        self.start = [s / sum(start) for s in start]

    def by_chs(self, ridges, order=''):
        rows = ',\n'.join(f"({c}, {left}, {today!r}::float8, {array(s)}, {array(e)})" for c, left, today, s, e in self.rows)
        arguments = ', '.join(array(a) for a in ([f + 1 for f in self.factors], self.ramps, self.penalties, self.start, ridges))
        out = sql(f'SELECT chs.fit_agg(c, l, t, s, e, {arguments} {order}) FROM (VALUES {rows}) r (c, l, t, s, e);')
        return out if out.startswith('ERROR') else json.loads(out or 'null')

    # ---- the oracle
    def expand(self, row, weights):
        """The numbers that the coefficients belong to: what is missing scores as the rest, penalties come off."""
        single = lambda x: struct.unpack('f', struct.pack('f', x))[0]
        x, known, off, c = [], [], {}, 0
        for i, (f, n, penalty) in enumerate(zip(self.factors, self.ramps, self.penalties)):
            score = row[3][i]
            if n == 0:
                off[f] = off.get(f, 0) + single(penalty * row[4][i] / 100)
            for r in range(n):
                x.append(None if score is None else min(max(single(score / 100) * n - r, 0), 1))
                known.append(f)
        factors, w = {}, weights
        for f in set(known):
            mine = [c for c in range(len(x)) if known[c] == f]
            weight = sum(w[c] for c in mine if x[c] is not None)
            if weight > 0:
                mean = sum(w[c] * x[c] for c in mine if x[c] is not None) / weight
                factors[f] = mean, max(mean - off.get(f, 0), 0), sum(w[c] for c in mine)
        weight = sum(f[2] for f in factors.values())
        rest = sum(f[1] * f[2] for f in factors.values()) / weight if weight > 0 else .5
        mean_score = lambda f: factors.get(f, (0, 0))
        return [(factors[known[c]][1] if known[c] in factors else rest) if x[c] is None
                else x[c] - (mean_score(known[c])[0] - mean_score(known[c])[1]) for c in range(len(x))]

    @staticmethod
    def minimize(rows, towards, ridge):
        """rows: (left, x).  The intercept and coefficients, by accelerated gradients with restarts."""
        n = len(towards)
        # Centered columns: the same minimum, and far fewer steps.
        middle = [sum(x[j] for _, x in rows) / len(rows) for j in range(n)]
        rows = [(left, [a - b for a, b in zip(x, middle)]) for left, x in rows]
        step = 1 / (.25 * max(1, max(sum(a * a for a in x) for _, x in rows)) + ridge)
        z = before = [0.] * (n + 1)
        y, t = z, 1
        for _ in range(200000):
            gradient = [0.] + [ridge * (y[j + 1] - towards[j]) for j in range(n)]
            for left, x in rows:
                e = (1 / (1 + math.exp(-(y[0] - sum(a * b for a, b in zip(y[1:], x))))) - left) / len(rows)
                gradient[0] += e
                for j in range(n):
                    gradient[j + 1] -= e * x[j]
            z = [y[0] - step * gradient[0]] + [max(y[j] - step * gradient[j], 0) for j in range(1, n + 1)]
            if max(abs(a - b) for a, b in zip(z, y)) < 1e-12:
                break
            if sum((a - b) * (b - c) for a, b, c in zip(y, z, before)) > 0:
                t = 1
            t, old = (1 + math.sqrt(1 + 4 * t * t)) / 2, t
            y = [a + (old - 1) / t * (a - b) for a, b in zip(z, before)]
            before = z
        return z[0] + sum(g * m for g, m in zip(z[1:], middle)), z[1:]

    def fit(self, rows, ridge, weights=None):
        b, (slope,) = self.minimize([(r[1], [r[2] / 100]) for r in rows], [0], 0)
        towards = [slope * s for s in self.start]
        weights = weights or self.start
        for _ in range(6):
            intercept, g = self.minimize([(r[1], self.expand(r, weights)) for r in rows], towards, ridge)
            gaps = any(r[3][i] is None for r in self.rows for i, n in enumerate(self.ramps) if n) or 0 in self.ramps
            if not gaps or not sum(g) or max(abs(a / sum(g) - w / sum(weights)) for a, w in zip(g, weights)) < 1e-3:
                break
            used, weights = weights, g
        else:
            weights = used
        return (b, slope), (intercept, g), weights

    def choose(self, ridges):
        """For each ridge the gain per row and its standard error, of customers left out.  Gaps are filled first by the weights of the ridge before."""
        gains, rows = [{} for _ in ridges], 0
        loss = lambda eta, left: math.log1p(math.exp(-abs(eta))) + max(eta, 0) - left * eta
        for part in range(5):
            weights, others = None, [r for r in self.rows if murmur(r[0]) % 5 == part]
            rows += len(others)
            for ridge, gain in zip(ridges, gains):
                (b, slope), (intercept, g), weights = self.fit([r for r in self.rows if murmur(r[0]) % 5 != part], ridge, weights)
                for r in others:
                    eta = intercept - sum(a * x for a, x in zip(g, self.expand(r, weights)))
                    gain[r[0]] = gain.get(r[0], 0) + loss(b - slope * r[2] / 100, r[1]) - loss(eta, r[1])
        for gain in gains:
            n, total = len(gain), sum(gain.values())
            yield total / rows, math.sqrt(sum((v - total / n) ** 2 for v in gain.values()) * n / (n - 1)) / rows


def murmur(n):
    n = (n ^ n >> 32) & 0xffffffff
    for shift, factor in ((16, 0x85ebca6b), (13, 0xc2b2ae35)):
        n = (n ^ n >> shift) * factor & 0xffffffff
    return n ^ n >> 16


def company(seed, factors, ramps, penalties, missing=0, customers=80, days=3):
    """A company whose customers leave by a known rule, with gaps."""
    chance = random.Random(seed)
    n = len(factors)
    rows = []
    for customer in range(1, customers + 1):
        good = chance.random()
        for _ in range(days):
            scores = [round(100 * min(max(good * .6 + chance.random() * .5 - .1, 0), 1), 2) for _ in range(n)]
            events = [chance.choice((0, 0, 0, 1, 2)) if ramps[i] == 0 else 0 for i in range(n)]
            left = chance.random() < 1 / (1 + math.exp(-(1.5 - .03 * scores[0] - .02 * scores[-1] + .4 * sum(events))))
            scores = [None if ramps[i] == 0 or chance.random() < missing and i > 0 else s for i, s in enumerate(scores)]
            known = [s for s in scores if s is not None]
            rows.append((customer, left, round(sum(known) / len(known), 2), scores, events))
    return Problem(rows, factors, ramps, penalties, [1 + c % 3 for c in range(sum(ramps))])


def difference(mine, theirs):
    return max(abs(a - b) for a, b in zip(mine, theirs))


problems = {
    'weights': company(1, [0, 0, 1, 2], [1, 1, 1, 1], [0] * 4),
    'weights with gaps': company(2, [0, 0, 1, 1, 2], [1] * 5, [0] * 5, .3),
    'weights with penalties': company(3, [0, 0, 1, 1], [1, 1, 1, 0], [0, 0, 0, 15], .1),
    'curves': company(4, [0, 1, 1], [3, 1, 4], [0] * 3),
    'curves with gaps and penalties': company(5, [0, 1, 1, 1], [3, 2, 1, 0], [0, 0, 0, 10], .2),
}
for name, problem in problems.items():
    for ridge in (.3, .01):
        found = problem.by_chs([ridge])
        _, (intercept, g), _ = problem.fit(problem.rows, ridge)
        off = difference([intercept] + g, [found['intercept']] + found['coefficients'])
        ok(off < 1e-6 and min(found['coefficients']) >= 0, f'{name}, ridge {ridge}: the coefficients of the oracle, none below 0',
           f'{off} apart', found, intercept, g)

problem = problems['weights with gaps']
found = problem.by_chs([.3, .01])
expected = list(problem.choose((.3, .01)))
off = max(difference(e, (c['gain'], c['error'])) for e, c in zip(expected, found['choices']))
ok(off < 1e-7, 'gain and error on customers left out are those of the oracle', f'{off} apart', expected, found['choices'])
ok(found['ridge'] == (.3, .01)[expected[1][0] > expected[0][0]], 'the ridge that predicts them best is chosen', found)

# ---- what must hold for any
found = problem.by_chs([1e9])
share = [g / sum(found['coefficients']) for g in found['coefficients']]
ok(difference(share, problem.start) < 1e-6 and abs(sum(found['coefficients']) - found['slope_of_today']) < 1e-6,
   'an infinite ridge is today\'s card', share, problem.start)

base = problems['weights']
copied = Problem([(c, left, today, s + s[:1], e + [0]) for c, left, today, s, e in base.rows],
                 base.factors + base.factors[:1], [1] * 5, [0] * 5, [base.start[0] / 2] + base.start[1:] + [base.start[0] / 2])
one, two = base.by_chs([.0001])['coefficients'], copied.by_chs([.0001])['coefficients']
ok(abs(two[0] - two[4]) < 1e-6 and abs(two[0] + two[4] - one[0]) < .05 * one[0], 'a copy of a metric shares its weight', one, two)

shuffled = list(problem.rows)
random.Random(6).shuffle(shuffled)
again = Problem(shuffled, problem.factors, problem.ramps, problem.penalties, problem.start)
again.start = problem.start
one, two = problem.by_chs([.3, .01]), again.by_chs([.3, .01])
ok(one == two, 'rows in another order: the same bits', one, two)

nothing = Problem([(c, left, today, s[:3] + [50.], e) for c, left, today, s, e in base.rows], base.factors, [1] * 4, [0] * 4, [1] * 4)
found = nothing.by_chs([0.])
ok(all(math.isfinite(g) and g >= 0 for g in found['coefficients']), 'a metric that never varies, without a ridge: no harm', found)

# Without step halving and a start at the base rate this does not converge.
wide = company(7, [i // 4 for i in range(20)], [1] * 20, [0] * 20, customers=60)
for row in range(len(wide.rows)):
    c, left, today, s, e = wide.rows[row]
    wide.rows[row] = (c, s[0] + s[1] + s[2] < 60, today, s, e)
found = wide.by_chs([.0001])
_, (intercept, g), _ = wide.fit(wide.rows, .0001) if os.environ.get('CHS_FULL') else (0, (found['intercept'], found['coefficients']), 0)
eta = lambda s: found['intercept'] - sum(a * b / 100 for a, b in zip(found['coefficients'], s))
right = sum((eta(s) > 0) == left for _, left, _, s, _ in wide.rows)
ok(right > .97 * len(wide.rows) and difference([intercept] + g, [found['intercept']] + found['coefficients']) < 1e-4,
   'twenty metrics that know exactly who leaves: found', right, len(wide.rows), found)

ok(Problem([(c, False, today, s, e) for c, _, today, s, e in base.rows], base.factors, base.ramps, base.penalties,
           base.start).by_chs([.1]) is None, 'nobody left: no fit')
unknown = Problem([(c, left, today, s, e) for c, left, today, s, e in base.rows], base.factors, base.ramps, base.penalties, base.start)
unknown.rows = unknown.rows + [(999, 'NULL::boolean', 50., [50.] * 4, [0] * 4)]
ok(unknown.by_chs([.1]) == base.by_chs([.1]), 'a row of unknown outcome does not count')
for what, change in (('factors', dict(factors=[0, 0, 1, 9])), ('ramps', dict(ramps=[1, 1, 1, 101])), ('a share', dict(start=[-1, 1, 1, 1])),
                     ('metrics of another number', dict(penalties=[0] * 3))):
    wrong = Problem(base.rows, base.factors, base.ramps, base.penalties, base.start)
    for key, value in change.items():
        setattr(wrong, key, value)
    message = wrong.by_chs([.1])
    ok(isinstance(message, str) and 'of a fit' in message, f'wrong {what}: an error', message)

if os.environ.get('CHS_FULL'):
    big = sql("""SELECT chs.fit_agg(i, true, 50, s, s, s, s, s, array_fill(1.0, '{1}'::int[]), '{1}')
                 FROM generate_series(1, 3000) i, (SELECT array_fill(0::float8, '{100000}') || 1.0::float8 s) a;""")
    ok('can have at most' in big, 'more rows than memory is granted for: an error', big)

rscript = shutil.which('Rscript')
has_glmnet = rscript and subprocess.run([rscript, '-e', 'library(glmnet)'], capture_output=True).returncode == 0
if not os.environ.get('CHS_FULL') or not has_glmnet:
    number += 1
    print(f'ok {number} - coefficients of glmnet # SKIP wants CHS_FULL=1 and R with glmnet')
else:
    worst = 0
    for name in ('weights', 'curves'):
        problem = problems[name]
        found = problem.by_chs([.01])
        towards = [found['slope_of_today'] * s for s in problem.start]
        x = [problem.expand(r, problem.start) for r in problem.rows]
        code = f"""library(glmnet)
            x <- -matrix(c({','.join(repr(v) for row in x for v in row)}), nrow={len(x)}, byrow=TRUE)
            y <- c({','.join(str(int(r[1])) for r in problem.rows)}); g0 <- c({','.join(map(repr, towards))})
            fit <- glmnet(x, y, family='binomial', alpha=0, lambda=.01, standardize=FALSE, thresh=1e-16, maxit=1e7,
                          offset=as.vector(x %*% g0), lower.limits=-g0)
            cat('FOUND', sprintf('%.15g', c(as.vector(fit$a0), as.vector(fit$beta) + g0)))"""
        with tempfile.NamedTemporaryFile('w', suffix='.R') as script:
            script.write(code)
            script.flush()
            out = subprocess.run([rscript, script.name], capture_output=True, text=True)
        theirs = [float(v) for v in out.stdout.split('FOUND')[-1].split()] if 'FOUND' in out.stdout else print('#', out.stderr)
        worst = max(worst, difference(theirs, [found['intercept']] + found['coefficients'])) if theirs else math.inf
    ok(worst < 1e-6, 'coefficients of glmnet', f'{worst} apart')
print(f'1..{number}')
raise SystemExit(failed > 0)
