"""What all tests share: no time limit per example of a property, and nothing of the caller's openbell."""

import os

from hypothesis import settings

# The machine may be busy with the other half of the tests. Where CI is set, hypothesis always draws the same examples.
settings.register_profile("openbell", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("openbell")

# OPENBELL_CLUSTER_ says what is in the cluster that KUBECONFIG leads to; openbell itself reads none of it.
_KEPT = ("OPENBELL_TEST_", "OPENBELL_CLUSTER_")
for name in [name for name in os.environ if name.startswith("OPENBELL_") and not name.startswith(_KEPT)]:
    del os.environ[name]
