"""The series "KVM: Stop grabbing references to PFNMAP'd pages" (in v6.13), of it commits 8b15c3764c05 and 93b7da404f5b."""

from __future__ import annotations

from dataclasses import replace

from hotplug_model.changes.change import undoing
from hotplug_model.rules import KernelRules


@undoing(
    "kvm-keeps-the-page",
    "KVM: Stop grabbing references to PFNMAP'd pages",
    since=(6, 13),
)
def guess_the_page(rules: KernelRules) -> KernelRules:
    """From a pfn KVM guesses whether it holds a page, instead of keeping what it was given."""
    return replace(
        rules, kvm_is_reserved_pfn="ad_tracked", kvmppc_book3s_instantiate_page="reserved"
    )
