def test_x(settings, servers):
    import psycopg, redis
    with psycopg.connect(settings.database_url) as c:
        assert c.execute("select 1").fetchone() == (1,)
    r = redis.Redis.from_url(settings.redis_url); assert r.ping(); r.close()
def test_y(settings, servers):
    import pytest; pytest.skip("needs chromium")
