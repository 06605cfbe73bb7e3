"""The printed result."""

from .matrix import FEATURES, REASONS

COLUMNS = (*FEATURES, "moved")


def print_table(rows):
    """`rows`: (transport, client, server) -> column -> cell."""
    head = ("transport", "client", "server", *COLUMNS)
    lines = [head]
    for where, cells in rows.items():
        moved = cells["moved"]
        shown = [str(cells[name]) for name in FEATURES] + [f"{moved.failed}/{moved.calls}"]
        lines.append((*where, *shown))
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())
    for (client, server, feature), reason in REASONS.items():
        if any(where[1:] == (client, server) for where in rows):
            print(f"\n- {client} x {server}, {feature}: {reason}")


def print_failures(rows):
    for where, cells in rows.items():
        for name, cell in cells.items():
            if not cell.ok and not cell.reason:
                print(f"\nFAIL {' x '.join(where)}: {name}")
                for line in cell.detail[:10]:
                    print(f"  {line}")
