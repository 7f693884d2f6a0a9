# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""`heed report`: all that was measured of a model, on one page."""

import os
import shlex

from heed.models import options as command
from heed.models.errors import InputError, run_command
from heed.report import answers, inputs, kinds, page, sections


def parse(argv):
    parser = command._Parser(
        prog="heed report",
        description="One page of what heed's commands measured of a model. It runs "
        "nothing: what is missing is named, with the command that makes it.",
    )
    parser.add_argument(
        "--folder",
        metavar="DIR",
        help="results by their names: " + ", ".join(f"{n}.json" for n in kinds.KINDS),
    )
    for name, kind in kinds.KINDS.items():
        parser.add_argument(
            kinds.option_of(name), metavar="FILE", help=f"{kind.shows}: {kind.command}"
        )
    parser.add_argument("--html", default="report.html", metavar="FILE")
    return parser.parse_args(argv)


def run(argv):
    options = parse(argv)
    if not os.path.isdir(os.path.dirname(options.html) or "."):
        raise InputError(f"--html {options.html}: its folder does not exist")
    given = {name: getattr(options, name) for name in kinds.KINDS}
    results = inputs.read(options.folder, given)
    page.write(options.html, results, "heed report " + shlex.join(argv))
    for answer in answers.all_of(results):
        print(f"{answer['question']} {sections.opened(answer['word'])}.")
        for sentence in answer["says"]:
            print(f"  {sentence}")
    for kind in sections.missing(results):
        print(f"Not there: {kind.shows}: {kind.command}")
    return 0


def main(argv):
    return run_command("report", run, argv)
