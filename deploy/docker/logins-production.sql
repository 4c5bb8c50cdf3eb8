-- Logins of production, each with the rights of one role. Again and again: it changes only the password.
\getenv password DATABASE_PASSWORD
SELECT format('CREATE ROLE %I', name) FROM unnest(ARRAY['dedup', 'export', 'catalogue']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE dedup LOGIN PASSWORD :'password';
ALTER ROLE export LOGIN PASSWORD :'password';
ALTER ROLE catalogue LOGIN PASSWORD :'password';
GRANT kalshi_dedup TO dedup;
GRANT kalshi_export TO export;
GRANT kalshi_catalogue TO catalogue;
