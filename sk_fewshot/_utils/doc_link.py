"""The link from an estimator's HTML representation to its page."""

from __future__ import annotations

DOCS = "https://sk-fewshot.readthedocs.io/en/stable"


class LinksToDocs:
    """Points scikit-learn's HTML representation to the documentation of this package.

    Every public estimator is documented as a name of the package itself.
    """

    _doc_link_module = "sk_fewshot"
    _doc_link_template = DOCS + "/api/generated/sk_fewshot.{estimator_name}.html"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        return {"estimator_name": type(self).__name__}
