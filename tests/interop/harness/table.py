"""The printed result."""

from .matrix import FEATURES, REASONS
from .report import say


def shown(cells, name):
    if name not in cells:
        return ""
    cell = cells[name]
    return f"{cell.failed}/{cell.calls}" if name == "moved" else str(cell)


def print_table(rows):
    """`rows`: (lane, client, server) -> column -> cell. One table per lane."""
    for lane in dict.fromkeys(where[0] for where in rows):
        of_lane = {where: cells for where, cells in rows.items() if where[0] == lane}
        columns = [name for name in (*FEATURES, "moved", "wire") if any(name in cells for cells in of_lane.values())]
        lines = [("lane", "client", "server", *columns)]
        lines += [(*where, *(shown(cells, name) for name in columns)) for where, cells in of_lane.items()]
        widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
        for line in lines:
            print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())
        print()
    for where, reason in REASONS.items():
        if any(row[0] == where[0] for row in rows):
            print(f"- {' x '.join(where)}: {reason}")


def print_failures(rows):
    for where, cells in rows.items():
        for name, cell in cells.items():
            if not cell.ok and not cell.reason:
                print()
                say(f"{' x '.join(where)}: {name}", cell.detail[:10], ok=False)
