#!/usr/bin/env python3
"""Reads the samples of the benchmark and prints what was measured.

    report.py SAMPLES facts|POINT|--targets|--json

Samples are by the clock and, where known, also on the processor: those tell what part of a miss is due to
others who use the machine.  Targets go by the clock.  A ratio is the median of the rounds' ratios where both sides have as many samples, since what disturbs a
round disturbs both; else it is the ratio of the medians.
"""
import json
import sys
from statistics import median


class Target:
    def __init__(self, operator, limit, base=None):
        self.operator, self.limit, self.base = operator, float(limit), base

    def met_by(self, number):
        return number <= self.limit if self.operator == "<=" else number >= self.limit


class Variant:
    def __init__(self):
        self.samples, self.processor, self.targets = [], [], []


class Group:
    def __init__(self, unit, title, base=None):
        self.unit, self.title, self.base, self.variants = unit, title, base, {}

    def variant(self, name):
        return self.variants.setdefault(name, Variant())


class Point:
    def __init__(self):
        self.groups, self.notes = {}, []

    def find(self, group, name):
        """A variant as a target names it: [GROUP:]VARIANT."""
        if ":" in name:
            group_name, name = name.split(":", 1)
            group = self.groups[group_name]
        return group.variants[name]

    def verdicts(self, group, variant):
        """What the targets of a variant say: (the number, the same on the processor, its unit, the target, whether it is met)."""
        for target in variant.targets:
            if target.base:
                base = self.find(group, target.base)
                faster = target.operator == ">="
                number = ratio(group, variant.samples, base.samples, faster)
                processor = ratio(group, variant.processor, base.processor, faster)
                unit = "x faster" if faster else "x"
            else:
                number, processor, unit = median(variant.samples), median(variant.processor or [0]), group.unit
            yield number, processor, unit, target, target.met_by(number)


def ratio(group, own, others, faster=False):
    """How many times as slow (or large) as the others, or how many times faster; 0 if not known."""
    if not (own and others and all(own) and all(others)):
        return 0
    if len(own) != len(others):
        own, others = [median(own)], [median(others)]
    more_is_better = group.unit.endswith("/s")
    if more_is_better != faster:
        own, others = others, own
    return median(a / b for a, b in zip(own, others))


def read(path):
    facts, points, point = {}, {}, None
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            kind, *words = line.rstrip("\n").split("\t")
            if kind == "fact":
                facts[words[0]] = words[1]
            elif kind == "point":
                point = points.setdefault(words[0], Point())
            elif kind == "note":
                point.notes.append(words[0])
            elif kind == "group":
                point.groups[words[0]] = Group(*words[1:])
            elif kind == "sample":
                point.groups[words[0]].variant(words[1]).samples.append(float(words[2]))
                if len(words) > 3:
                    point.groups[words[0]].variant(words[1]).processor.append(float(words[3]))
            elif kind == "target":
                point.groups[words[0]].variant(words[1]).targets.append(Target(*words[2:]))
    return facts, points


def short(number):
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def spread(samples):
    return f"{short(min(samples))} .. {short(max(samples))}" if len(samples) > 1 else ""


def judged(number, processor, unit, target, met):
    return (f"{short(number) + ' ' + unit:>16} {short(processor) if processor else '':>7}"
            f"  {target.operator} {short(target.limit):<9} {'ok' if met else 'MISS'}")


def print_point(point):
    indent = "\n" + " " * 97
    for group in point.groups.values():
        if not group.variants:
            continue
        print(f"\n  {group.title}")
        base = group.variants.get(group.base)
        for name, variant in group.variants.items():
            if not variant.samples:
                continue
            processor = short(median(variant.processor)) if variant.processor else ""
            line = f"    {name:<46} {short(median(variant.samples)) + ' ' + group.unit:>14}  {spread(variant.samples):<20} {processor:>7}"
            verdicts = list(point.verdicts(group, variant))
            if base not in (None, variant) and not any(v[3].base for v in verdicts):
                ratios = [short(ratio(group, a, b)) if a and b else "" for a, b in
                          ((variant.samples, base.samples), (variant.processor, base.processor))]
                line += f"{ratios[0] + ' x':>16} {ratios[1]:>7}" + (indent if verdicts else "")
            print((line + indent.join(judged(*v) for v in verdicts)).rstrip())
    print()
    for note in point.notes:
        print(f"  {note}")
    print()


def print_targets(points):
    met = missed = 0
    for name, point in points.items():
        for group in point.groups.values():
            for variant_name, variant in group.variants.items():
                for number, processor, unit, target, is_met in point.verdicts(group, variant) if variant.samples else ():
                    against = f" against {target.base}" if target.base else ""
                    print(f"{judged(number, processor, unit, target, is_met):<44} {name}: {group.title}: {variant_name}{against}")
                    met, missed = met + is_met, missed + (not is_met)
    print(f"\n{met} targets met, {missed} missed")


def as_json(facts, points):
    return {"facts": facts, "points": {
        name: {"notes": point.notes, "groups": [{
            "title": group.title, "unit": group.unit, "variants": [{
                "name": variant_name, "median": median(variant.samples), "samples": variant.samples, "processor": variant.processor, "targets": [
                    {"operator": target.operator, "limit": target.limit, "against": target.base, "value": number, "processor": processor, "met": is_met}
                    for number, processor, _, target, is_met in point.verdicts(group, variant)]}
                for variant_name, variant in group.variants.items() if variant.samples]}
            for group in point.groups.values()]}
        for name, point in points.items()}}


def main():
    facts, points = read(sys.argv[1])
    what = sys.argv[2]
    if what == "facts":
        for name, value in facts.items():
            print(f"  {name:<32} {value}")
        print()
    elif what == "--targets":
        print_targets(points)
    elif what == "--json":
        json.dump(as_json(facts, points), sys.stdout, indent=1)
        print()
    else:
        print(f"{'':53}{'median':>12}    {'min .. max':<20} {'on CPU':>8}{'against':>16} {'on CPU':>7}  target")
        print_point(points[what])


main()
