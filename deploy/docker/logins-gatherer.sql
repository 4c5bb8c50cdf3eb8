-- Logins of a gatherer's database, each with the rights of one role. Again and again: it changes only the password.
\getenv password DATABASE_PASSWORD
SELECT format('CREATE ROLE %I', name) FROM unnest(ARRAY['gatherer', 'sync']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE gatherer LOGIN PASSWORD :'password';
ALTER ROLE sync LOGIN PASSWORD :'password';
GRANT kalshi_gatherer TO gatherer;
GRANT kalshi_sync TO sync;
