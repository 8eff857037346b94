#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# One table and one JSON of what device_check.sh left in a folder.
#
#   device_table.py RESULTS
import json
import pathlib
import sys


def read_json(file):
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


def tests(folder):
    """Per suite: how many tests passed, which failed; a suite without a report died."""
    codes = dict(line.rsplit(" ", 1) for line in (folder / "exit_codes.txt").read_text().splitlines())
    result = {}
    for log in sorted(folder.glob("test_*.log")):
        report = read_json(log.with_suffix(".json"))
        code = int(codes.get(log.stem, -1))
        cases = [f"{case['classname']}.{case['name']}" + ("" if not case.get("failures") else " FAILED")
                 for suite in (report or {}).get("testsuites", []) for case in suite["testsuite"]
                 if case.get("result") != "SKIPPED"]
        failed = [case.removesuffix(" FAILED") for case in cases if case.endswith(" FAILED")]
        lines = log.read_text(errors="replace").splitlines()
        last = "" if report else " | ".join(["died in " + next((line.split("]")[1].strip() for line in reversed(lines)
                                                                if line.startswith("[ RUN")), "its first lines")] + lines[-2:])
        result[log.stem] = {"exit_code": code, "passed": len(cases) - len(failed), "failed": failed, "died_in": last}
    return result


def kernels(folder):
    report = read_json(folder / "bench.json") or {}
    return {entry["name"].replace("/manual_time", ""): {
                "microseconds": entry["real_time"], **{k: entry[k] for k in ("FLOP/s", "bytes/s") if k in entry}}
            for entry in report.get("benchmarks", []) if "real_time" in entry}, report.get("context", {})


def table(results):
    yield "device   " + results["device"]
    for key, value in results["context"].items():
        if key in ("elastic", "kokkos", "matrix product peak", "bf16 product peak", "copy"):
            yield f"{key:<24} {value}"
    if results["tests"]:
        all_tests = results["tests"].values()
        yield (f"\ntests    {sum(test['passed'] for test in all_tests)} passed in {len(all_tests)} suites, "
               f"{sum(len(test['failed']) for test in all_tests)} failed, "
               f"{sum(bool(test['died_in']) for test in all_tests)} suites died")
    for name, test in results["tests"].items():
        yield from (f"    {name.split('.')[0]} {failed}" for failed in test["failed"][:6])
        if test["died_in"]:
            yield f"    {name} exit {test['exit_code']} {test['died_in'][:300]}"
    if results["kernels"]:
        yield f"\n{'kernel':<44} {'us':>12} {'TFLOP/s':>9} {'TB/s':>7}"
    for name, kernel in sorted(results["kernels"].items()):
        rates = [f"{kernel[k] / 1e12:.2f}" if k in kernel else "-" for k in ("FLOP/s", "bytes/s")]
        yield f"{name:<44} {kernel['microseconds']:>12.1f} {rates[0]:>9} {rates[1]:>7}"
    profile = results["kernel_times"]
    if profile:
        yield f"\nkernels of a step, fenced: {profile['in_kernels']:.3f} s of {profile['seconds']:.3f} s"
        names = sorted(profile["kernels"].items(), key=lambda item: -item[1]["seconds"])
        for name, total in names[:45]:
            yield f"{name[:60]:<60} {total['calls']:>6} {total['seconds']:>10.4f} s {1e6 * total['seconds'] / total['calls']:>12.1f} us"


def main():
    folder = pathlib.Path(sys.argv[1])
    measured, context = kernels(folder)
    results = {"device": (folder / "device.txt").read_text().strip(), "context": context,
               "exit_codes": (folder / "exit_codes.txt").read_text().split("\n"), "tests": tests(folder),
               "kernels": measured, "kernel_times": read_json(folder / "kernel_times.json")}
    (folder / "results.json").write_text(json.dumps(results, indent=1))
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
