"""V087x: pointers to objects in maps, objects that programs allocate, lists and trees."""

from __future__ import annotations

from skep.verifier.explain.entry import Entry
from skep.verifier.requirements.kinds import Rule

ENTRIES = (
    Entry(
        "V0870",
        Rule.KPTR_ACCESS,
        "a pointer field of a map's value is written in the wrong way",
        ("the {field} at offset {offset} of the map's value cannot be written so: {reason}",),
        help="put a reference there with  old = bpf_kptr_xchg(&v->field, new);  and release `old` if it is not NULL",
    ),
    Entry(
        "V0871",
        Rule.KPTR_TYPE,
        "a pointer field of a map's value cannot keep this pointer",
        (
            "the {field} keeps pointers to struct {expected}; {reg} points to struct {struct} ({pointer})",
            "the {field} keeps pointers to struct {expected}; {reg} is {pointer_phrase}",
        ),
        label="{subject} is {pointer} here",
        why=("{origin}",),
        help="store a pointer to the very structure that the field is declared with, from its start",
    ),
    Entry(
        "V0872",
        Rule.KPTR_FIELD,
        "there is no pointer field whose object could be exchanged",
        ("bpf_kptr_xchg() exchanges the object of a __kptr field; {reg} does not point to one: {reason}",),
        help="declare the field  struct foo __kptr *field;  in the map's value and pass  &value->field",
    ),
    Entry(
        "V0873",
        Rule.ALLOCATION,
        "an object of this type cannot be allocated",
        ("{kfunc}() cannot allocate an object of this type: {reason}",),
        help="allocate a structure of the program's own by its name:  bpf_obj_new(typeof(*p))",
    ),
    Entry(
        "V0874",
        Rule.ALLOCATED_FIELD,
        "a special field of an allocated object is accessed directly",
        ("'{field}' in struct {struct} cannot be read or written directly",),
        help="leave it to its functions: bpf_spin_lock(&p->lock), bpf_list_push_back(&p->head, &node->link)",
    ),
    Entry(
        "V0875",
        Rule.ALLOCATED_ARGUMENT,
        "the argument is not the allocated object that it must be",
        (
            "argument {number} of {kfunc}() must be {expected}; {reg} is {held}",
            "argument {number} of {kfunc}() must be {expected}; {reg} is {pointer_phrase}",
        ),
        label="{subject} is {pointer} here",
        why=("{origin}", "what was pushed into a list or tree belongs to it: the program only borrows it then"),
        help="pass what bpf_obj_new(), bpf_kptr_xchg() or a pop function gave, after its check for NULL, and only once",
    ),
    Entry(
        "V0876",
        Rule.GRAPH_ROOT,
        "there is no list or tree at this place",
        ("argument {number} of {kfunc}() must point to a {root}: {reason}",),
        help="pass the address of the field itself:  &value->head",
    ),
    Entry(
        "V0877",
        Rule.GRAPH_NODE,
        "the list or tree cannot hold this node",
        ("argument {number} of {kfunc}() must be a node that the {root} holds: {reason}",),
        help="pass the member that the root's  __contains(type, member)  names, of an object of that type",
    ),
    Entry(
        "V0878",
        Rule.GRAPH_UNLOCKED,
        "a list or tree is used without the lock beside it",
        ("{kfunc}() needs the lock in the same object as the {root}, and it is not held",),
        help="call bpf_spin_lock() on the lock of the same value or object before, and bpf_spin_unlock() after",
    ),
    Entry(
        "V0879",
        Rule.GRAPH_CALLBACK,
        "this cannot be done while a tree compares nodes",
        ("{kfunc}() cannot be called from the function that compares two nodes",),
        help="only compare in that function, and return whether the first node is less",
    ),
)
