#!/usr/bin/env python3
"""Checks the console in a real Chromium, on the shop that runs at BASE_PORT with RUN_DIR.

It changes the shop: it empties it, breaks it, kills services and starts them again. Needs the
packages playwright, axe-playwright-python and pillow, and the program chromium.
"""

import argparse
import pathlib
import shutil
import sys
import time
import traceback

sys.dont_write_bytecode = True


def checks():
    """The checks, in the order in which they run."""
    from browser import lasts, looks, pictures, works

    return [
        pictures.weight_and_first_paint,
        works.an_order_with_the_keyboard,
        works.a_fault_of_the_page,
        works.a_narrow_map_says_the_same,
        works.an_unknown_chart_is_named,
        works.the_configuration_is_shown,
        works.a_scenario_in_the_page,
        works.markup_stays_text,
        works.a_command_is_safe_to_paste,
        looks.every_page,
        looks.no_label_of_the_axis_sticks_out,
        looks.the_policy_holds,
        looks.nothing_moves,
        lasts.a_dead_service_looks_dead,
        lasts.a_cut_stream_resumes,
        lasts.thirty_look_at_once,
        lasts.hours_of_watching_do_not_grow_it,
        pictures.screenshots,
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="TEXT", default="", help="only the checks with this in their name")
    parser.add_argument("--pictures", metavar="FOLDER", help="where the screenshots go (docs/images for the docs)")
    given = parser.parse_args()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        parser.error("the package playwright is missing: pip install playwright axe-playwright-python pillow")
    chromium = shutil.which("chromium")
    if not chromium:
        parser.error("the program chromium is missing: apt install chromium")
    from browser import pictures
    from browser.shop import Load, Shop

    if given.pictures:
        pictures.FOLDER = pathlib.Path(given.pictures)
    shop = Shop()
    shop.empty()
    passed = failed = 0
    with sync_playwright() as playwright, Load(shop):
        browser = playwright.chromium.launch(executable_path=chromium)
        for check in checks():
            if given.only not in check.__name__:
                continue
            began = time.monotonic()
            name = check.__name__.replace("_", " ")
            try:
                said = check(browser, shop)
                passed += 1
                print(f"ok   {name} ({time.monotonic() - began:.0f} s){': ' + said if said else ''}", flush=True)
            except Exception as fault:  # the rest is checked all the same
                failed += 1
                print(f"FAIL {name} ({time.monotonic() - began:.0f} s):\n     {fault}", flush=True)
                if type(fault).__name__ != "Fault":
                    traceback.print_exc(limit=-4)
                shop.start()
        browser.close()
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
