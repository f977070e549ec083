"""The product's gunicorn settings for the bare app, less what is the product's own: its hooks, its
address, its logs."""

import runpy
import shutil

from bench.processes import ROOT

OWN = {"bind", "wsgi_app", "pidfile", "accesslog", "errorlog", "logger_class", "logconfig_dict"}

product = runpy.run_path(str(ROOT / "gunicorn.conf.py"))
# It makes a folder for its metrics, which only its own hooks would remove.
if "metrics" in product:
    shutil.rmtree(product["metrics"], ignore_errors=True)
globals().update(
    {
        name: value
        for name, value in product.items()
        if isinstance(value, str | int | float | bool)
        and name.islower()
        and name[0] != "_"
        and name not in OWN
    }
)
