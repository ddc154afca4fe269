"""Cycles and depths of small graphs given as successor tables. Iterative, so that hostile programs cannot nest us."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Graph = Mapping[int, Iterable[int]]


def postorder(graph: Graph, entry: int) -> tuple[list[int], set[tuple[int, int]]]:
    """Nodes reached from ``entry`` in depth-first postorder, and the back edges (from, to) of that walk.

    Successors are visited in the order given.
    """
    order: list[int] = []
    back: set[tuple[int, int]] = set()
    open_nodes = {entry}
    done: set[int] = set()
    stack = [(entry, iter(graph[entry]))]
    while stack:
        node, rest = stack[-1]
        for successor in rest:
            if successor in open_nodes:
                back.add((node, successor))
            elif successor not in done:
                open_nodes.add(successor)
                stack.append((successor, iter(graph[successor])))
                break
        else:
            stack.pop()
            open_nodes.discard(node)
            done.add(node)
            order.append(node)
    return order, back


def deepest_chain(graph: Graph, entry: int) -> tuple[list[int], bool]:
    """The longest path from ``entry``; or, where there is a cycle, a path that ends by coming back to itself (True)."""
    order, back = postorder(graph, entry)
    if back:
        first, second = min(back)
        return [*_path(graph, entry, first), second], True
    below: dict[int, list[int]] = {}
    for node in order:
        chains = [below[successor] for successor in graph[node]]
        below[node] = [node, *max(chains, key=len, default=[])]
    return below[entry], False


def _path(graph: Graph, start: int, goal: int) -> list[int]:
    """A shortest path from ``start`` to ``goal`` (which is reachable)."""
    came: dict[int, int] = {start: start}
    queue = [start]
    for node in queue:
        if node == goal:
            break
        for successor in graph[node]:
            if successor not in came:
                came[successor] = node
                queue.append(successor)
    path = [goal]
    while path[-1] != start:
        path.append(came[path[-1]])
    return path[::-1]


def components(graph: Graph) -> list[list[int]]:
    """Strongly connected components (Tarjan), callees before callers; a single node is a component of its own."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    on_stack: set[int] = set()
    path: list[int] = []
    found: list[list[int]] = []
    for root in graph:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        path.append(root)
        on_stack.add(root)
        work = [(root, iter(graph[root]))]
        while work:
            node, rest = work[-1]
            for successor in rest:
                if successor not in index:
                    index[successor] = low[successor] = len(index)
                    path.append(successor)
                    on_stack.add(successor)
                    work.append((successor, iter(graph[successor])))
                    break
                if successor in on_stack:
                    low[node] = min(low[node], index[successor])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == index[node]:
                    found.append([])
                    while not found[-1] or found[-1][-1] != node:
                        found[-1].append(path.pop())
                    on_stack.difference_update(found[-1])
    return found
