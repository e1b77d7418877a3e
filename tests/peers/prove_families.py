"""Proves tests/peers/families.py, without Headway: transformers in float32 passes, and transformers with one mistake in
it fails in every configuration where the mistake can be made.

    python tests/peers/prove_families.py [--configurations 8]"""

import argparse
import sys

import adapters
import configurations
import families


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configurations", type=int, default=8)
    numbers = range(parser.parse_args().configurations)
    families.prepare()
    wrong = 0
    for family in configurations.FAMILIES:
        tally = families.check_family(adapters.Itself(), family, numbers)
        wrong += len(tally.failures)
        print(f"{family}: {tally.count} pass", *tally.failures, sep="\n  ", flush=True)
        for fault in adapters.FAULTS:
            tally = families.check_family(adapters.Itself(fault), family, numbers)
            caught = sum(": error " in failure for failure in tally.failures)
            wrong += tally.count != caught
            print(f"  {fault.__name__}: {caught} of {tally.count} caught", flush=True)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
