-- What events and workers need beyond the platform document: the state that user events carry, and
-- the outbox row by which a sign-up becomes an event. The roles iam_service and relay_service are
-- created before migrations run.

-- Preferences that user events carry and the document has no column for. A member's company is not
-- here: IAM's schema has none, and company events say who belongs where.
ALTER TABLE public.user_profiles ADD COLUMN phone TEXT;
COMMENT ON COLUMN public.user_profiles.phone IS 'Phone number for text messages in E.164 form, such as +4915100000000; NULL if never given.';

ALTER TABLE public.user_settings
  ADD COLUMN time_zone TEXT,
  ADD COLUMN sms_notifications BOOLEAN NOT NULL DEFAULT FALSE,
  ADD COLUMN in_app_notifications BOOLEAN NOT NULL DEFAULT TRUE,
  ADD COLUMN notification_preferences JSONB NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(notification_preferences) = 'object'),
  ADD COLUMN digest_frequency TEXT NOT NULL DEFAULT 'immediate' CHECK (digest_frequency IN ('immediate', 'daily', 'weekly')),
  ADD COLUMN quiet_hours_start INTEGER CHECK (quiet_hours_start BETWEEN 0 AND 1439),
  ADD COLUMN quiet_hours_end INTEGER CHECK (quiet_hours_end BETWEEN 0 AND 1439),
  ADD CHECK ((quiet_hours_start IS NULL) = (quiet_hours_end IS NULL));
COMMENT ON COLUMN public.user_settings.time_zone IS 'IANA name of the user''s time zone, such as Europe/Berlin; NULL if unknown, then UTC applies.';
COMMENT ON COLUMN public.user_settings.sms_notifications IS 'Whether the user wants notifications as text messages.';
COMMENT ON COLUMN public.user_settings.in_app_notifications IS 'Whether the user wants notifications inside the application.';
COMMENT ON COLUMN public.user_settings.notification_preferences IS
  'Choices that override the switches: object from EVENT_NAME/channel, such as COURSE_PUBLISHED/email, to true or false.';
COMMENT ON COLUMN public.user_settings.digest_frequency IS 'How non-urgent notifications are delivered: immediate, daily or weekly.';
COMMENT ON COLUMN public.user_settings.quiet_hours_start IS 'Start of quiet hours, minutes after local midnight (0 to 1439); NULL = no quiet hours.';
COMMENT ON COLUMN public.user_settings.quiet_hours_end IS 'End of quiet hours, minutes after local midnight, exclusive; before the start means the next morning.';

-- The event's payload is plain JSON in the shape of avro/iam/UserRegistered.avsc. A failure here
-- fails the sign-up: a user whose registration nobody hears of would be worse.
CREATE OR REPLACE FUNCTION public.handle_new_user() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ''
AS $$
DECLARE
  meta jsonb := coalesce(NEW.raw_user_meta_data, '{}');
  profile public.user_profiles;
  settings public.user_settings;
BEGIN
  -- Supabase Auth stores phone numbers without the plus sign.
  INSERT INTO public.user_profiles (id, email, username, full_name, phone)
  VALUES (NEW.id, NEW.email, meta->>'username', meta->>'full_name', '+' || ltrim(nullif(NEW.phone, ''), '+'))
  RETURNING * INTO profile;

  INSERT INTO public.user_settings (id, language, time_zone)
  VALUES (NEW.id, coalesce(meta->>'language', 'en'), meta->>'time_zone')
  RETURNING * INTO settings;

  INSERT INTO public.user_roles (user_id, role_id)
  SELECT NEW.id, r.id FROM public.roles r WHERE r.name = 'user';

  INSERT INTO public.outbox_events (type, key, subject, aggregate_version, payload)
  VALUES ('USER_REGISTERED', NEW.id::text, NEW.id::text, 1, jsonb_build_object(
    'user_id', NEW.id,
    'company_id', NULL,
    'company_role', NULL,
    'roles', (SELECT coalesce(jsonb_agg(r.name ORDER BY r.name), '[]')
              FROM public.user_roles ur JOIN public.roles r ON r.id = ur.role_id
              WHERE ur.user_id = NEW.id),
    'time_zone', settings.time_zone,
    'language', settings.language,
    'is_verified', coalesce(profile.is_verified, false),
    'registered_at', to_char(coalesce(NEW.created_at, now()) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'settings', jsonb_build_object(
      'email_notifications', coalesce(settings.email_notifications, true),
      'sms_notifications', settings.sms_notifications,
      'in_app_notifications', settings.in_app_notifications,
      'marketing_emails', coalesce(settings.marketing_emails, false),
      'notification_preferences', settings.notification_preferences,
      'digest_frequency', settings.digest_frequency,
      'quiet_hours_start', settings.quiet_hours_start,
      'quiet_hours_end', settings.quiet_hours_end,
      'theme', CASE WHEN settings.theme IN ('light', 'dark') THEN settings.theme ELSE 'system' END),
    'personal', jsonb_build_object(
      'email', profile.email,
      'full_name', profile.full_name,
      'username', profile.username,
      'phone', profile.phone,
      'avatar_url', profile.avatar_url,
      'bio', profile.bio,
      'website', profile.website)));

  RETURN NEW;
END
$$;
COMMENT ON FUNCTION public.handle_new_user() IS
  'On sign-up: creates the user''s profile and settings, assigns the role user and writes the USER_REGISTERED event to the outbox, all in the transaction of the sign-up.';

-- The outbox holds personal data of everyone. Row level security too, because a blanket GRANT on
-- the schema, a common repair on Supabase, would undo a mere REVOKE.
REVOKE ALL ON public.outbox_events FROM anon, authenticated;
ALTER TABLE public.outbox_events ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Workers emit events" ON public.outbox_events FOR ALL TO iam_service USING (true) WITH CHECK (true);
CREATE POLICY "The relay reads and marks events" ON public.outbox_events FOR ALL TO relay_service USING (true) WITH CHECK (true);

-- Workers act for no user, so the policies of 0002 do not let them in.
CREATE POLICY "Workers read profiles" ON public.user_profiles FOR SELECT TO iam_service USING (true);
CREATE POLICY "Workers read settings" ON public.user_settings FOR SELECT TO iam_service USING (true);
CREATE POLICY "Workers keep subscriptions in step" ON public.user_subscriptions
  FOR ALL TO iam_service USING (true) WITH CHECK (true);
CREATE POLICY "Workers read roles" ON public.roles FOR SELECT TO iam_service USING (true);
CREATE POLICY "Workers read the roles of users" ON public.user_roles FOR SELECT TO iam_service USING (true);

INSERT INTO engine.table_privileges VALUES
  ('public.user_profiles', '{SELECT}'),
  ('public.user_settings', '{SELECT}'),
  ('public.user_sessions', '{}'),
  ('public.roles', '{SELECT}'),
  ('public.permissions', '{}'),
  ('public.role_permissions', '{}'),
  ('public.user_roles', '{SELECT}');

-- The migration runner's table, where there is one, is nobody's business either.
DO $$
BEGIN
  IF to_regclass('public._sqlx_migrations') IS NOT NULL THEN
    REVOKE ALL ON public._sqlx_migrations FROM anon, authenticated;
  END IF;
END
$$;
