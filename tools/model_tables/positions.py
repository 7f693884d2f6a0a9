# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What positions are for, and how far they carry: of `heed positions`."""

from model_tables.words import percent, signed, table


def positions_of(positions):
    """What tells the order, and what changes of positions cost."""
    run, order = positions["run"], positions["order"]
    permuted, depth = order["layers"]["permuted"], order["depth"]
    text = (
        f"{run['model']}, preset `{run['preset']}`, {run['text']}; {run['cpu']}, heed "
        f"{run['versions']['heed']}.\n\nAttention of layers "
        f"{', '.join(map(str, order['layers']['layers']))} over "
        f"{order['layers']['tokens']} tokens, the worst of them:\n\n"
    )
    text += table(
        ["permuted", "numbers of equal bits", "relative L2"],
        [
            [name, f"{100 * n['equal']:.1f} %", f"{n['rel_l2']:.1e}"]
            for name, n in permuted.items()
        ],
    )
    text += (
        "\nThe last token's attention under the causal mask, all tokens before it "
        "permuted: without positions it changes by "
        f"{depth['without'][0]:.1e} in the first layer and by {depth['without'][1]:.1e} "
        f"in the second; with RoPE by {depth['rope'][0]:.1e} in the first.\n\n"
    )
    head = ["positions", "loss", "change"]
    for task in ("needle", "induction"):
        head += [f"{task}: right", "change of margin"]
    shifted = [r for r in positions["turns"] if r["name"].startswith("shifted")]
    moved = max(abs(r["loss_change"]) for r in shifted)
    text += f"Shifted by a constant, the loss changes by {moved:.1e} at most.\n\n"
    lines = []
    for row in positions["turns"]:
        cells = [row["name"], f"{row['loss']:.3f}"]
        cells.append(signed(row["loss_change"], row["loss_change_error"], 4))
        for task in ("needle", "induction"):
            cells.append(percent(row[f"{task}_right"]))
            cells.append(
                signed(row[f"{task}_change"], row[f"{task}_change_error"])
            )
        lines.append(cells)
    return text + table(head, lines)


def length_of(positions):
    """Loss by position beyond the trained length, by scaling."""
    length = positions["length"]
    buckets = length["rows"][0]["buckets"]
    text = (
        f"{positions['run']['model']}, trained on {length['trained']:,} tokens, over "
        f"{length['texts']} of {length['tokens']:,}. Loss by position, and its change "
        "from the text cut into pieces of the trained length.\n\n"
    )
    head = ["scaling"] + [f"{b['first']:,} to {b['last']:,}" for b in buckets]
    lines = []
    for row in length["rows"]:
        cells = [row["scaling"]]
        for bucket in row["buckets"]:
            cell = f"{bucket['loss']:.3f}"
            if "change" in bucket:
                change = signed(bucket["change"], bucket["change_error"], 3)
                cell += f" ({change})"
            cells.append(cell)
        lines.append(cells)
    return text + table(head, lines)


def lengths_of(positions, small):
    """Of the model, where its text was long enough, and of a small one."""
    return "\n".join(length_of(p) for p in (positions, small) if "length" in p)
