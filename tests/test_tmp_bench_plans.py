import time, cProfile, pstats
from tests.fresh import *  # noqa
from tests.conftest import *  # noqa
from tests.plans.making import draft, grid
from app.plans.accepting import accept
from app.control.starting import create_execution, start
from app.executions.run import hold
import pytest
@pytest.mark.parametrize("shape",[(5,10,10),(8,25,10),(20,25,10),(10,50,10)])
def test_x(database, member, shape):
    f=grid(*shape, description="What is to be done. "*10)
    a=time.perf_counter(); d=draft(f); b=time.perf_counter()
    with database.transaction() as tx: p=accept(tx,d,member.id).plan_id
    c=time.perf_counter()
    prof=cProfile.Profile()
    with database.transaction() as tx:
        e=create_execution(tx,p,member.id,timeout_seconds=10)
        t1=time.perf_counter()
    t2=time.perf_counter()
    with database.transaction() as tx:
        run=hold(tx,e); start(tx,run,"x"); run.write(tx)
    t3=time.perf_counter()
    with database.transaction() as tx: n=tx.fetch("select count(*) n from job_dependencies")["n"]
    print(shape, n, f"read {b-a:.3f} accept {c-b:.3f} create {t1-c:.3f}+{t2-t1:.3f} start {t3-t2:.3f}")
